"""Networks side by side: trains and measures them on one split. It stands on `train` and on `evaluate`."""
