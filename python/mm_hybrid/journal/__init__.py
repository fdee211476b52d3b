"""The append-only record of everything that was intended and everything that happened."""
