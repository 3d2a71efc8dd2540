"""Benchmarks: what is fast and what is not, measured side by side in one run. `make bench` runs them; no test does."""
