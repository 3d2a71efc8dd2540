"""`python -m oculard_models.lab`."""

from oculard_models.lab import main

main()
