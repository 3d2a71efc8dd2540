"""Brings networks that others trained into bundles. Its modules need the extra `lab`; importing it does not."""
