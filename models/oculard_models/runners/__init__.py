"""What runs a bundle's weights. Importing this package imports no runtime; its modules do when they are used."""
