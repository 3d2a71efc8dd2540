"""Intake: the Storage SCP, the answers to storage commitment, and the import of folders."""
