"""From a network's probabilities to one structure: its outline, its mask, and what is measured of it."""

from oculard_models.structures.measuring import MEASURES, NO_NUMBERS, NO_STRUCTURE, TOUCHES_BORDER, measure

__all__ = ["MEASURES", "NO_NUMBERS", "NO_STRUCTURE", "TOUCHES_BORDER", "measure"]
