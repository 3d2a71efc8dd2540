"""Does `compare` train and measure networks on one split, draw them, and go on where it stopped?"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="comparing needs the extra `lab` (torch)")

from oculard_models.compare import run as compare_run  # noqa: E402
from oculard_models.compare.networks import Row  # noqa: E402
from oculard_models.compare.page import cells, page, picture  # noqa: E402
from oculard_models.data.painted_table import paint_table  # noqa: E402  # after the skip
from oculard_models.lab import comparing  # noqa: E402
from oculard_models.nets.sixteen import SIXTEEN, architecture  # noqa: E402

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
SHORT = ["--batch", "8", "--epochs", "1", "--rate", "1e-3", "--accelerator", "cpu"]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    """Give torch's number of threads and its determinism back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paint a study of one eye each."""
    return paint_table(tmp_path_factory.mktemp("study"), 60, 4, size_px=72, eyes="R")


def row(net: str, accuracy: float | None = 0.9) -> Row:
    """Make up a row."""
    return Row(
        net=net,
        title=architecture(net).title,
        size_px=224,
        accuracy=accuracy,
        accuracy_low=None if accuracy is None else accuracy - 0.02,
        accuracy_high=None if accuracy is None else accuracy + 0.02,
        auc=None if accuracy is None else 0.96,
        auc_low=0.95,
        auc_high=0.97,
        file_mb=12.9,
        parameters=3_200_000,
        ms_one_thread=9.0,
        ms_all_threads=6.0,
        threads=2,
        training_s=1.0,
        persons=100,
        initial="",
    )


def test_two_networks_are_compared_and_kept(table: Path, tmp_path: Path):
    """Two small networks end to end: table, CSV, picture, page; a second call trains nothing, other settings do."""
    command = ["--table", str(table), "--nets", "mobilenet,oculard-small", "--size-px", "64", *SHORT]
    command += ["--out", str(tmp_path)]
    first, _ = compare_run.main(command)
    kept = (tmp_path / "mobilenet" / "row.json").read_bytes()
    again, _ = compare_run.main(command)
    compare_run.main([*command, "--nets", "oculard-small", "--seed", "2"])

    assert [r["network"] for r in first] == ["MobileNet", "oculard small"]
    assert (first[0]["release %"], first[1]["release %"]) == ("91.2", "")
    assert again == first
    assert (tmp_path / "mobilenet" / "row.json").read_bytes() == kept
    asked = json.loads((tmp_path / "oculard-small" / "row.json").read_bytes())["asked"]
    assert asked["fit"]["seed"] == 2
    assert (tmp_path / "split.json").is_file()
    assert not list(tmp_path.rglob("*.onnx"))


def test_compared_files_say_the_same(table: Path, tmp_path: Path):
    """CSV, JSON and page hold one row a network, with sensible figures, and the picture is a picture."""
    command = ["--table", str(table), "--nets", "oculard-small", "--size-px", "48", *SHORT, "--out", str(tmp_path)]
    done = CliRunner().invoke(app(), [*command, "--json"])
    found = json.loads(done.stdout)
    with (tmp_path / "compare.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))

    assert done.exit_code == 0, done.output
    assert [r["net"] for r in written] == [r["net"] for r in found] == ["oculard-small"]
    assert 0.0 <= found[0]["accuracy_low"] <= found[0]["accuracy"] <= found[0]["accuracy_high"] <= 1.0
    assert found[0]["parameters"] == 620_057
    assert found[0]["file_mb"] == pytest.approx(2.5, abs=0.1)
    assert Image.open(tmp_path / "compare.png").format == "PNG"
    assert "oculard small" in (tmp_path / "compare.html").read_text(encoding="utf-8")


def app() -> typer.Typer:
    """Wrap the command as `oculard-lab` does."""
    made = typer.Typer()
    made.command(context_settings=PASS_ON)(comparing.compare)
    return made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--nets", "mobilenet,alexnet"], "there is no network `alexnet`"),
        (["--nets", "mobilenet,mobilenet"], "each once"),
        (["--nets", "inception-v3", "--size-px", "64"], "takes 75 to 4096 pixels"),
        (["--crop", "oval"], "one of whole, circle"),
        (["--initial", "nowhere"], "there is no folder nowhere"),
        (["--table", "nothing.csv"], "nothing.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_asked_wrongly_is_said(options: list[str], words: str, table: Path, tmp_path: Path):
    """Misuse leaves with 2 and says so before the first network is trained."""
    done = CliRunner().invoke(app(), ["--table", str(table), "--out", str(tmp_path / "out"), *SHORT, *options])

    assert done.exit_code == 2, done.output
    assert words in done.output
    assert not list(tmp_path.rglob("row.json"))


def test_page_needs_nothing_else_and_says_why_figures_differ():
    """The page has its picture inside, the release's figures beside ours, and the reasons; nothing is loaded."""
    text = page([row("mobilenet"), row("efficientnet-b7")], {"command": "<script>alert(1)</script>"})

    assert 'src="data:image/png;base64,' in text.replace("\n", " ")
    assert "http" not in text
    assert "<script>" not in text
    for words in ("92.0", "0.971", "91.2", "131,031", "Painted eyes", "ImageNet"):
        assert words in text


def test_figure_that_cannot_be_computed_is_said():
    """One class only among those tested: the cell says so, and the picture is drawn all the same."""
    assert cells(row("xception", None))["accuracy %"] == "cannot be computed"
    assert picture([row("xception", None)]).startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_sixteen_end_to_end(tmp_path: Path):
    """All sixteen networks are trained, measured, exported and drawn at small size, in the release's order."""
    table = paint_table(tmp_path / "study", 60, 4, size_px=96, eyes="R")
    command = ["--table", str(table), "--size-px", "80", "--out", str(tmp_path / "out"), *SHORT]

    rows, _ = compare_run.main(command)

    assert [r["network"] for r in rows] == [known.title for known in SIXTEEN.values()]
    with (tmp_path / "out" / "compare.csv").open(newline="", encoding="utf-8") as file:
        sizes = {r["net"]: float(r["file_mb"]) for r in csv.DictReader(file)}
    assert min(sizes, key=lambda net: sizes[net]) == "mobilenet-v2"
    assert max(sizes, key=lambda net: sizes[net]) == "efficientnet-b7"
