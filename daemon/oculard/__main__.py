"""`python -m oculard`."""

from oculard.cli import main

main()
