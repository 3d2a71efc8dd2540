"""The schema's history, one file a revision."""

NEWEST = "0004"  # what the program needs; a test compares it with the files
