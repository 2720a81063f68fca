"""How fast the library is, and what it finds: what is run by hand and not installed."""
