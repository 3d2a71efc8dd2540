"""What travels with a report of the worker: kept with it, as the site wants it, and never at the cost of the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faz_bench import SIDE_MM, SIDE_PX, FazBench, flow_volume, slab
from pydicom import dcmread

from oculard.inference import write
from oculard.settings import Faz, Report


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., FazBench]]:
    """Makes a bench; closes it in the end."""
    made: list[FazBench] = []

    def bench(**settings: Any) -> FazBench:
        made.append(FazBench(tmp_path, **settings))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


def companions(bench: FazBench) -> list[tuple[int, str, str, int, str]]:
    """Report, role, path, size and UID of everything that was kept beside the Structured Reports."""
    query = "SELECT report_id, role, path, size_bytes, sop_instance_uid FROM report_object ORDER BY report_id, ordinal"
    with bench.shelf.database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]  # type: ignore[misc]  # five columns


@pytest.mark.parametrize(
    ("settings", "roles"),
    [
        (Report(), ["seg", "sc"]),
        (Report(pictures=False), ["seg"]),
        (Report(pdf=True), ["seg", "sc", "pdf"]),
    ],
)
def test_a_report_has_the_companions_that_the_site_wants(
    make: Callable[..., FazBench], settings: Report, roles: list[str]
) -> None:
    """The mask always, picture and PDF as configured; each file lies whole in the vault."""
    bench = make(report=settings)
    bench.receive(slab("a"))
    bench.work()

    kept = companions(bench)
    assert [role for _, role, *_ in kept] == roles
    for _, _, path, size_bytes, uid in kept:
        assert bench.shelf.vault.path(path).stat().st_size == size_bytes
        assert dcmread(bench.shelf.vault.path(path), stop_before_pixels=True).SOPInstanceUID == uid


def test_an_amended_report_has_companions_of_its_own(make: Callable[..., FazBench]) -> None:
    """A rejected cube has none; the slab's report has a mask and a picture; a newer slab's has others."""
    bench = make()
    bench.receive(flow_volume("cube"))
    bench.work()
    assert companions(bench) == []
    for number, name in enumerate("ab"):
        bench.receive(slab(name, at_s=60 * number))
        bench.work()

    kept = companions(bench)
    assert [(report_id, role) for report_id, role, *_ in kept] == [(2, "seg"), (2, "sc"), (3, "seg"), (3, "sc")]
    assert len({uid for *_, uid in kept}) == 4


def test_the_shape_knows_the_corrected_spacing(make: Callable[..., FazBench], monkeypatch: pytest.MonkeyPatch) -> None:
    """What draws a scale or writes lengths gets those that the values were measured with."""
    asked: list[Any] = []

    def remember(request: Any) -> tuple[()]:
        asked.append(request)
        return ()

    monkeypatch.setattr(write, "build_companions", remember)
    bench = make(faz=Faz(axial_length_device_mm=24.0))
    bench.receive(slab("a", AxialLengthOfTheEye=26.0))
    bench.work()

    factor = (26.0 - 1.82) / (24.0 - 1.82)
    assert asked[0].shape.spacing_mm == pytest.approx((SIDE_MM / SIDE_PX * factor,) * 2)


def test_what_was_not_found_has_no_mask(make: Callable[..., FazBench]) -> None:
    """Without a zone there is nothing to draw."""
    bench = make()
    bench.network.gives = np.zeros((80, 80), np.float32)
    bench.receive(slab("a"))
    bench.work()

    assert companions(bench) == []


@pytest.mark.parametrize("trouble", [ValueError("odd"), OSError("encoder error"), AttributeError("Rows")])
def test_a_companion_that_cannot_be_made_costs_no_value(
    make: Callable[..., FazBench], monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """The values are reported, the report says what is missing and refers to nothing that is not there."""

    def fails(request: Any) -> Any:
        raise trouble

    logged: list[tuple[str, dict[str, Any]]] = []

    class Logger:
        """Remembers."""

        def error(self, event: str, **fields: Any) -> None:
            logged.append((event, fields))

    monkeypatch.setattr(write, "build_companions", fails)
    monkeypatch.setattr(write, "logger", Logger())
    bench = make()
    bench.receive(slab("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert report.remark.endswith("mask and picture could not be written and are missing")
    assert companions(bench) == []
    assert [(event, fields["reason"]) for event, fields in logged] == [
        ("report without companions", "companion-impossible")
    ]
    with bench.shelf.database.read() as connection:
        (path,) = connection.exec_driver_sql("SELECT path FROM report").one()
    assert b"1.2.840.10008.5.1.4.1.1.66.4" not in bench.shelf.vault.path(path).read_bytes()


def test_a_failed_report_has_no_mask_of_an_earlier_try(make: Callable[..., FazBench]) -> None:
    """The network broke off after the first of two eyes, and failed on each alone: nothing is left of the first try."""
    bench = make()
    bench.network.breaks_after_first = True
    bench.receive(slab("right"), slab("left", eye="L"))
    reports = bench.work()

    assert {report.outcome for report in reports} == {"failed"}
    assert len(reports) == 2
    assert companions(bench) == []
    assert not any("spacing" in parameter for report in reports for parameter in report.model.parameters)
