"""Findings in, DICOM objects out: Structured Reports, their codes, their identifiers and a page for people."""
