"""Estimators, their bundles, and the laboratory that makes them."""
