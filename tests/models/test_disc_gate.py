"""Is the comparison of the disc's network with the gate fair: the same pictures, rightly labelled, rightly counted?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from photographs import fundus_folder

from oculard_models.train import disc, disc_gate
from oculard_models.train.disc_found import Sight
from oculard_models.train.disc_gate import CLEAN, CROPPED, CUT, TAKEN, Row, cases, compared, csdi, cut_away
from oculard_models.train.quality_sources import painted_source
from oculard_models.train.settings import TrainingWrong


def row(kind: str, gate: float, surest: float, *, visible: float = 1.0, group: str = "p", haze: float = 2.0) -> Row:
    """Make what both said of one picture; the network finds a disc where it is rather sure."""
    sight = Sight(surest=surest, found=surest > 0.5)
    return Row(kind=kind, group=group, gate=gate, sight=sight, visible=visible, haze=haze)


def test_every_picture_comes_in_four_forms():
    """As it was, clear, cropped so that the disc is outside, and cut away; two of them have no disc."""
    made = list(cases([painted_source(3), painted_source(4)], seed=1))
    assert [case.kind for case in made] == [TAKEN, CLEAN, CROPPED, CUT] * 2
    assert [case.labels["disc"] for case in made if case.kind in (TAKEN, CROPPED, CUT)] == [1.0, 0.0, 0.0] * 2


def test_what_is_cut_away_is_the_disc():
    """The side of the disc is black, the other side and the fovea are as they were."""
    for seed in (3, 4):
        source = painted_source(seed)
        assert source.disc is not None
        picture = cut_away(source).picture
        size = picture.shape[1]
        x, y = (round((1.0 + 0.98 * place) * size / 2) for place in source.disc)
        assert picture[:, y - 8 : y + 8, x - 8 : x + 8].max() < 12
        other = size - x
        assert picture[0, y - 8 : y + 8, other - 8 : other + 8].min() > 40
        assert picture[0, size // 2, size // 2] > 40


def test_areas_are_those_of_pictures_without_the_disc():
    """A gate that is right on all and a network that is wrong on all: areas of 1 and 0, and both between them."""
    rows = [row(CROPPED, -3.0 - k, 0.9 - 0.01 * k, visible=0.0) for k in range(3)]
    rows += [row(CLEAN, 3.0 + k, 0.1 + 0.01 * k) for k in range(3)]
    told = compared(rows, CROPPED)
    assert (told["without"], told["with"]) == (3, 3)
    assert (told["auc"]["gate"]["value"], told["auc"]["network"]["value"]) == (1.0, 0.0)
    assert told["said_no_disc_without"] == {"pictures": 3, "gate": 3, "network": 0, "both": 0, "either": 3}
    assert told["said_no_disc_with"] == {"pictures": 3, "gate": 0, "network": 3, "both": 0, "either": 3}


def test_hazy_pictures_and_those_of_unknown_label_are_no_controls():
    """Nobody can say that a disc is to be seen there."""
    rows = [row(CUT, -1.0, 0.1, visible=0.0), row(CUT, -2.0, 0.2, visible=0.0)]
    rows += [row(CLEAN, 1.0, 0.8), row(CLEAN, 2.0, 0.9), row(CLEAN, -9.0, 0.1, haze=8.0)]
    rows += [row(CLEAN, -9.0, 0.1, visible=float("nan"))]
    assert compared(rows, CUT)["with"] == 2


def test_csdi_is_counted_by_the_graders_word():
    """Photographs of other sets are not counted."""
    rows = [row(TAKEN, 1.0, 0.9, group="csdi-p01"), row(TAKEN, -1.0, 0.9, group="csdi-p07", visible=0.0)]
    told = csdi([*rows, row(TAKEN, 1.0, 0.9, group="hrf-01_h")])
    assert (told["visible"], told["not_visible"]) == (1, 1)
    assert told["said_no_disc_not_visible"] == {"pictures": 1, "gate": 1, "network": 0, "both": 0, "either": 1}


def test_without_trained_networks_it_says_what_comes_first(tmp_path: Path):
    """The command that makes them."""
    with pytest.raises(TrainingWrong, match="oculard-lab train disc --run"):
        disc_gate._network(tmp_path / "all")


@pytest.mark.slow
def test_both_commands_end_in_a_card(tmp_path: Path):
    """The whole way on few cases: networks, comparison, and a card that has it."""
    data = ["--data", str(fundus_folder().parent), "--run", str(tmp_path / "run"), "--size-px", "64"]
    short = ["--patch-px", "64", "--painted", "8", "--before", "1", "--copies", "1", "--epochs", "1", "--batch", "2"]
    out = tmp_path / "disc-demo"
    disc.main([*data, *short, "--out", str(out)])
    disc_gate.main([*data, "--copies", "2", "--painted", "2", "--others", "20", "--epochs", "2"])
    disc.main([*data, *short, "--out", str(out), "--gate", str(tmp_path / "run" / "gate.json")])

    told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["gate"]
    assert set(told["kinds"]) == {CROPPED, CUT}
    assert np.isfinite(told["kinds"][CUT]["auc"]["both"]["value"])
    assert "画質ゲート" in (out / "card.md").read_text(encoding="utf-8")
