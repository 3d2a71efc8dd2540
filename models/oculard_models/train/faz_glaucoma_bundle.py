"""The bundle that the study of glaucoma writes: the given one's weights and measures, and a logistic output of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from oculard_models.export.bundle import ExportWrong, must_be_free, put_in_place, write_text
from oculard_models.export.toml import manifest_toml
from oculard_models.manifest import Manifest, Output, OutputKind, Structure
from oculard_models.registry import MANIFEST, Bundle
from oculard_models.train.faz_glaucoma_page import page_of
from oculard_models.train.faz_glaucoma_study import MODEL, Compared, Study
from oculard_models.train.faz_glaucoma_table import MEASURES
from oculard_models.train.faz_glaucoma_words import (
    CAUTIONS,
    CURVES,
    compared_words,
    curve_cells,
    figure_rows,
    model_words,
    people_words,
)

PAGE = "page.html"
OUTPUT, CONCEPT, CHOICES = "glaucoma", "FAZ-GL", ("normal", "glaucoma")

CARD = """\
# {name}

{banner}

## What it adds / 追加した出力

The output `{output}`: how like glaucoma an eye is by the area, perimeter and circularity of its foveal avascular zone
alone. It is no diagnosis: the zone is large in many people without glaucoma, and small in many with it; diabetes, vein
occlusions, high myopia and age change it too. The bundle `{source}` lies below unchanged: same weights, same measures.

FAZ の面積・周囲長・円形度だけから求めた「緑内障らしさ」です。診断ではありません。糖尿病網膜症、静脈閉塞、強度近視、
加齢などでも FAZ は変化します。

    {model}

Area in mm2, perimeter in mm, circularity 4 pi area / perimeter squared. Probability = 1 / (1 + exp(-logit)).

## On what it was fitted / 学習データ

{data}

{people}. Table `{table}` (SHA-256 `{digest}`), all rows. Logistic regression on standardised measures with a weak
penalty (C = 1).

    {command}

## How good it is / 性能

On persons that did not fit it: {folds} folds by person, stratified, seed {seed}. 95 % intervals: by eye after DeLong,
by person from a bootstrap. / 学習に使っていない人での結果です（95 % 信頼区間）。

{curves}

{compared}

{figures}

{cautions}

All figures are in `metrics.json` and, with curves, in `page.html`.

---

"""
RESEARCH = "**Research. A likeness, no diagnosis. / 研究用。診断ではありません。**"
DEMONSTRATION = """\
**A demonstration: the people are invented; it means nothing for any person.**
**デモ用モデルです。実在の人に対しては何の意味もありません。**"""
UNSAID = "Nobody said who the people are. Do not rely on it elsewhere."


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What the new bundle is called and said to be."""

    name: str
    version: str
    demonstration: bool
    data_words: str
    command: str


def can_take(source: Bundle) -> None:
    """See that a bundle measures what the model needs. Raises ExportWrong."""
    manifest = source.manifest
    if manifest.mask is None or manifest.mask.structure is not Structure.FAZ:
        raise ExportWrong(f"`{manifest.name}` does not measure the foveal avascular zone; hint: --bundle of family faz")
    measured = {output.name for output in manifest.output if output.kind is OutputKind.MEASURED}
    lacking = [name for name in MEASURES if name not in measured]
    if lacking:
        raise ExportWrong(
            f"`{manifest.name}` does not report {', '.join(lacking)}; hint: add the outputs to its manifest"
        )


def write_glaucoma(folder: Path, source: Bundle, study: Study, naming: Naming) -> Bundle:
    """Write the new bundle: complete and tested, or not at all. Raises ExportWrong."""
    must_be_free(folder, naming.name, replace=False)
    manifest = _manifest(source.manifest, study, naming)
    date = datetime.now(UTC).date().isoformat()
    figures = metrics_of(study, naming, source, date)

    def fill(inside: Path) -> None:
        (inside / manifest.weights.file).write_bytes(source.load())
        (inside / manifest.golden.image).write_bytes(source.golden_image())
        write_text(inside, _card(source, study, naming), figures)
        (inside / PAGE).write_text(page_of(study, manifest, naming.command, date), encoding="utf-8")
        (inside / MANIFEST).write_text(manifest_toml(manifest), encoding="utf-8")

    return put_in_place(folder, fill)


def metrics_of(study: Study, naming: Naming, source: Bundle, date: str) -> dict[str, object]:
    """Write the study as data, with what is needed to run it again."""
    return {
        "command": naming.command,
        "date": date,
        "data": naming.data_words or UNSAID,
        "seed": study.seed,
        "folds": study.folds,
        "table": study.eyes.name,
        "table_sha256": study.eyes.sha256,
        "eyes": len(study.eyes.truth),
        "persons_with": study.eyes.persons_of(1),
        "persons_without": study.eyes.persons_of(0),
        "source": {"bundle": source.identity, "weights_sha256": source.manifest.weights.sha256},
        "auc": {
            name: {"by_eye_delong": curve.delong.to_json(), "by_person_bootstrap": curve.by_person.to_json()}
            for name, curve in study.curves.items()
        },
        "compared": [_compared(pair) for pair in study.compared],
        MODEL: {name: figure.to_json() for name, figure in study.figures.items()},
        "model": study.logistic.model_dump(),
        "cautions": list(CAUTIONS),
    }


def _compared(pair: Compared) -> dict[str, object]:
    """Write a paired comparison as data."""
    p = {} if pair.delong.p is None else {"p_delong": pair.delong.p}
    return {
        "first": pair.first,
        "second": pair.second,
        "by_eye_delong": pair.delong.auc.to_json(),
        **p,
        "by_person_bootstrap": pair.by_person.to_json(),
    }


def _manifest(source: Manifest, study: Study, naming: Naming) -> Manifest:
    """Take over the source's manifest with another name and the logistic output. Raises ExportWrong."""
    output = Output(name=OUTPUT, concept=CONCEPT, kind=OutputKind.LOGISTIC, choices=CHOICES, logistic=study.logistic)
    changes = {
        # One slab alone: zones of another have other sizes, and the model was not fitted on them.
        "input": source.input.model_dump() | {"slabs": source.input.slabs[:1]},
        "name": naming.name,
        "version": naming.version,
        "demonstration": source.demonstration or naming.demonstration,
        "output": [one.model_dump() for one in (*(one for one in source.output if one.name != OUTPUT), output)],
    }
    try:
        return Manifest.model_validate(source.model_dump() | changes)
    except ValueError as why:  # pydantic's words name the field
        raise ExportWrong(f"`{naming.name}` {naming.version} makes no manifest: {why}") from why


def _card(source: Bundle, study: Study, naming: Naming) -> str:
    """Put what was fitted before the card of the source."""
    curves = ["| score | AUC, by eye | AUC, by person |", "|---|---|---|"]
    curves += [f"| {CURVES[name].english} | {' | '.join(curve_cells(curve))} |" for name, curve in study.curves.items()]
    rows = ["| of the model's probability | |", "|---|---|"]
    rows += [f"| {words.english} | {text} |" for words, text in figure_rows(study.figures)]
    filled = CARD.format(
        name=naming.name,
        banner=DEMONSTRATION if source.manifest.demonstration or naming.demonstration else RESEARCH,
        output=OUTPUT,
        source=source.identity,
        model=model_words(study),
        data=naming.data_words or UNSAID,
        people=people_words(study),
        table=study.eyes.name,
        digest=study.eyes.sha256,
        command=naming.command,
        folds=study.folds,
        seed=study.seed,
        curves="\n".join(curves),
        compared="\n".join(f"- {compared_words(pair)}" for pair in study.compared),
        figures="\n".join(rows),
        cautions="\n".join(f"- {words}" for words in CAUTIONS),
    )
    return filled + source.card
