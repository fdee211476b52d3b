"""Closed-form quotes and estimators, computed in the core."""
