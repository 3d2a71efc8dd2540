"""Hostile bytes for everything that reads bytes: short in the tests, long by `make fuzz`."""
