"""The types of the optic disc after Nicolela, in the order in which every table, network and report has them."""

from collections.abc import Sequence
from typing import Final

NORMAL: Final = "normal"
DISC_TYPES: Final = (NORMAL, "focal-ischemia", "generalized-enlargement", "myopic", "senile-sclerosis")
GLAUCOMA_TYPES: Final = DISC_TYPES[1:]
SHORT: Final = {  # as the papers write them
    NORMAL: "NOR",
    "focal-ischemia": "FI",
    "generalized-enlargement": "GE",
    "myopic": "MY",
    "senile-sclerosis": "SS",
}


def type_index(name: str) -> int:
    """Where the type stands in the order; ValueError for a name that is none."""
    return DISC_TYPES.index(name)


def short_names(names: Sequence[str] = DISC_TYPES) -> tuple[str, ...]:
    """The letters of the papers, for tables and pictures."""
    return tuple(SHORT[name] for name in names)
