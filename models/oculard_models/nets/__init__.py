"""Networks of the laboratory. Importing this package imports no torch; its modules do."""
