"""Study what the avascular zone tells about glaucoma, and write a bundle that says it.

How to run (needs the extra `lab`):

    oculard-lab train faz-glaucoma --table eyes.csv --bundle bundles/faz --out bundles/faz-glaucoma \\
        --data-words "120 people with open-angle glaucoma and 115 without, Topcon Triton, 3 x 3 mm, one hospital"

The table has a row an eye: `person` (or `patient_id`), `eye` (R, L), `glaucoma` (or `label`: 0, 1), `area` (mm2),
`perimeter` (mm), `circularity`, and `age` if it is known. Each measure alone is compared with the logistic model of
all three, whose figures come from persons that did not fit it (folds by person, stratified, seeded). The new bundle
has the weights of the given one and a logistic output `glaucoma`, fitted on all rows. Its folder also holds
metrics.json and page.html; both are printed in short.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from oculard_models.export.bundle import METRICS
from oculard_models.registry import read_bundle
from oculard_models.train.faz_glaucoma_bundle import PAGE, Naming, can_take, write_glaucoma
from oculard_models.train.faz_glaucoma_study import Study, study_of
from oculard_models.train.faz_glaucoma_table import PERSONS_MIN, read_eyes
from oculard_models.train.faz_glaucoma_words import CURVES, compared_words, curve_cells
from oculard_models.train.settings import TrainingWrong, asked

WORDS = "Study what the foveal avascular zone tells about glaucoma, and add it to a bundle that measures the zone."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command."""

    table: str = field(metadata={"help": "CSV or Parquet: person, eye, glaucoma, area, perimeter, circularity, age"})
    bundle: str = field(metadata={"help": "folder of a bundle that measures the foveal avascular zone"})
    out: str = field(metadata={"help": "folder of the new bundle; must not be there"})
    seed: int = field(default=1, metadata={"help": "of folds and bootstrap"})
    folds: int = 5
    name: str = field(default="", metadata={"help": "of the new bundle; the given one's with -glaucoma if not given"})
    version: str = "1.0.0"
    demonstration: bool = field(default=False, metadata={"help": "the people are invented: it means nothing"})
    data_words: str = field(default="", metadata={"help": "who the people are and how they were scanned"})

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= PERSONS_MIN:
            raise TrainingWrong(f"`folds` must lie within 2 and {PERSONS_MIN}, got {self.folds}")
        if not 0 <= self.seed < 2**32:
            raise TrainingWrong(f"`seed` must lie within 0 and {2**32 - 1}, got {self.seed}")


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the study as asked on the command line; return the bundle's folder."""
    settings = asked(
        Settings, sys.argv[1:] if arguments is None else arguments, "oculard-lab train faz-glaucoma", WORDS
    )
    source = read_bundle(Path(settings.bundle))
    can_take(source)
    study = study_of(read_eyes(Path(settings.table)), seed=settings.seed, folds=settings.folds)
    naming = Naming(
        name=settings.name or f"{source.manifest.name}-glaucoma",
        version=settings.version,
        demonstration=settings.demonstration,
        data_words=settings.data_words,
        command=command(settings),
    )
    written = write_glaucoma(Path(settings.out), source, study, naming)
    _tell(study)
    typer.echo(f"{written.folder}: {written.identity}, with {METRICS} and {PAGE}", err=True)
    return written.folder


def command(settings: Settings) -> str:
    """Write the command that gives the same figures again, with the names of files but not their places."""
    words = ["--table", Path(settings.table).name, "--bundle", Path(settings.bundle).name]
    words += ["--out", Path(settings.out).name, "--seed", str(settings.seed), "--folds", str(settings.folds)]
    words += ["--name", settings.name] if settings.name else []
    words += ["--version", settings.version, *["--demonstration"] * settings.demonstration]
    words += ["--data-words", settings.data_words] if settings.data_words else []
    return shlex.join(["oculard-lab", "train", "faz-glaucoma", *words])


def _tell(study: Study) -> None:
    """Print the areas and the paired tests."""
    for name, curve in study.curves.items():
        by_eye, by_person = curve_cells(curve)
        typer.echo(f"AUC of {CURVES[name].english}: {by_eye}; by person: {by_person}")
    for pair in study.compared:
        typer.echo(compared_words(pair))
