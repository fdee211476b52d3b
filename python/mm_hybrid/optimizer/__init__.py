"""Choosing spreads: the closed form and the advisor beside it."""
