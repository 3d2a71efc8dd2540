"""Training scripts: one file each, read from top to bottom. Importing this package imports no torch."""
