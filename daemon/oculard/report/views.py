"""Views: the pictures of one eye that a classifying model saw, and what it made of each, as a report shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard.report.codes import Choice, Code, Concept, concept, term
from oculard_models.contract import said_alone

JAPANESE = {  # of the views that a bundle may read
    "rnfl-thickness": "網膜神経線維層厚マップ",
    "gcc-thickness": "神経節細胞複合体厚マップ",
    "gcl-thickness": "神経節細胞層厚マップ",
    "en-face": "正面像",
    "bscan-disc": "乳頭中心の断層像",
    "bscan-fovea": "中心窩の断層像",
    "rnfl-deviation": "網膜神経線維層の偏差マップ",
    "gcc-deviation": "神経節細胞複合体の偏差マップ",
    "photograph": "眼底写真",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenView:
    """One view: rows x columns, 0 to 1; what in it speaks for the class that was found (height x width, 0 to 1); and
    the probability in % that it alone gives to each class.
    """

    name: str
    pixels: npt.NDArray[np.float32]
    activation: npt.NDArray[np.float32]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        for part in (self.pixels, self.activation):
            if part.ndim != 2 or 0 in part.shape or not bool(((part >= 0.0) & (part <= 1.001)).all()):
                raise ValueError(f"view `{self.name}`: expected rows x columns from 0 to 1, got {part.shape}")
        if not all(0.0 <= probability <= 100.1 for probability in self.probabilities):  # NaN is neither
            raise ValueError(f"view `{self.name}`: a probability lies between 0 and 100 %: {self.probabilities}")
        if self.name not in JAPANESE:
            raise ValueError(f"`{self.name}` is no view that a report can name")

    @property
    def code(self) -> Code:
        """What the view is."""
        return term(f"view-{self.name}")

    @property
    def japanese(self) -> str:
        """The same in Japanese."""
        return JAPANESE[self.name]

    @property
    def winner(self) -> int:
        """The class that this view alone says."""
        return said_alone(self.probabilities)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenViews:
    """All views of one eye: `choices` are the classes, in the order of the probabilities, of the concept `classes`.

    `certainty` is how sure the model states to be of the class that was `found`, in %.
    """

    classes: str
    choices: tuple[str, ...]
    views: tuple[SeenView, ...]
    found: str
    certainty: float
    mirrored: bool = False  # a left eye's, shown as a right eye's

    def __post_init__(self) -> None:
        if not self.views or any(len(view.probabilities) != len(self.choices) for view in self.views):
            raise ValueError(f"expected views with a probability for each of {self.choices}")
        if not 0.0 <= self.certainty <= 100.1:
            raise ValueError(f"a certainty lies between 0 and 100 %: {self.certainty}")
        if self.found not in self.choices or not set(self.choices) <= set(self.concept.choices):
            raise ValueError(f"`{self.classes}` has not all of the classes {self.choices}, or not `{self.found}`")

    @property
    def concept(self) -> Concept:
        """What the views were classified by."""
        return concept(self.classes)

    def choice(self, view: SeenView) -> Choice:
        """The class that a view alone says."""
        return self.concept.choices[self.choices[view.winner]]

    def agrees(self, view: SeenView) -> bool:
        """Whether a view alone says what was found."""
        return self.choices[view.winner] == self.found
