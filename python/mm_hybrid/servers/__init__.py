"""Local loopback servers that speak the real protocols."""
