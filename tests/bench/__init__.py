"""Benchmarks: what is fast and what is not, measured side by side in one run. `make bench` runs them.

The tests look at what it prints and keeps, and at the queue on a small scale; they measure nothing.
"""
