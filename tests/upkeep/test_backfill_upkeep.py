"""What upkeep has to do with back-fill: the order of each night, the wish of who brought a study, re-annotation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from daemons import CONFIGURATION
from fakes import FakeClock
from oculard.app import App
from oculard.cli.commands import build
from oculard.clock import SystemClock
from oculard.job import JobEvent, RetrievalEvent, Wish
from oculard.plan import Family
from oculard.settings import Rule, Settings, load
from oculard.settings_night import Archive, Night
from oculard.store import tables
from oculard.store.backfills import Range
from oculard.store.trace import Row
from oculard.upkeep.night_orders import NightOrders
from oculard.upkeep.reannotation import Reannotation, tell
from oculard.upkeep.settling import Settling
from shelf import Shelf

TOKYO = ZoneInfo("Asia/Tokyo")
EVENING, MORNING = datetime(2026, 11, 20, 11, 0, tzinfo=UTC), datetime(2026, 11, 20, 21, 0, tzinfo=UTC)  # 20:00, 06:00
RULES = [Rule(modality="OP", families=["systemic", "glaucoma"])]
DAYS = date(2026, 11, 18), date(2026, 11, 19)


def families(version: str) -> dict[str, Family]:
    """Two families that read photographs, of one version."""
    return {
        name: Family(name=name, estimator=f"{name}@{version}", input_kind="fundus") for name in ("systemic", "glaucoma")
    }


def receive(shelf: Shelf, number: int, *, acquired_at: str = "20261118101500") -> None:
    """A photograph of a right eye, in a study of its own."""
    uid = f"1.2.{number}"
    names = {"study_instance_uid": uid, "series_instance_uid": f"{uid}.1", "sop_instance_uid": f"{uid}.1.1"}
    photograph = {"modality": "OP", "eye": "R", "image_type": [], "rows": 100, "columns": 100, "samples_per_pixel": 3}
    facts = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.5.1", "acquired_at": acquired_at, **names, **photograph}
    shelf.receive(f"{uid}.1.1", uid.encode(), study_instance_uid=uid, series_instance_uid=f"{uid}.1", facts=facts)


def settle(shelf: Shelf, version: str = "1") -> None:
    """Every open study settles, after a quiet time."""
    settling = Settling(
        Settings(plan=RULES, worker={"estimators": {"systemic": "systemic", "glaucoma": "glaucoma"}}),
        shelf.studies,
        families(version),
        shelf.clock,
        wish=shelf.retrievals.wish,
    )
    shelf.clock.sleep(3600)
    while settling.step():
        pass


def again(shelf: Shelf, version: str) -> Reannotation:
    """Re-annotation while this version serves."""
    return Reannotation(shelf.reannotations, RULES, families(version))


def run_all(shelf: Shelf) -> None:
    """Every job that may run gives a report."""
    while jobs := shelf.claim():
        shelf.finish(jobs[0])


def jobs(shelf: Shelf) -> list[Row]:
    """Every job, in the order in which they were ordered."""
    return sorted(shelf.trace.jobs(state=None, limit=100), key=lambda row: row["id"])


def test_the_back_fill_of_the_night_is_ordered_when_the_window_is_open(shelf: Shelf, clock: FakeClock) -> None:
    """Once, however often it is woken; the day that has ended and the one before; not where nobody wants it."""
    night = Night(backfill_from="pacs", backfill_modalities=["OP"])
    orders = NightOrders(night=night, time_zone="Asia/Tokyo", backfills=shelf.backfills, clock=clock)
    clock.at = EVENING - timedelta(minutes=1)
    orders.order_backfill()
    assert shelf.backfills.recent() == []
    for moment in (EVENING, EVENING + timedelta(hours=5), MORNING - timedelta(seconds=1), MORNING):
        clock.at = moment
        for chore in orders.all():
            chore.do()
            chore.do()
    (ordered,) = shelf.backfills.recent()
    assert (ordered.range.first, ordered.range.last) == (date(2026, 11, 19), date(2026, 11, 20))
    assert (ordered.origin, ordered.range.archive, ordered.range.modalities) == ("night", "pacs", ("OP",))

    silent = NightOrders(night=Night(), time_zone="Asia/Tokyo", backfills=shelf.backfills, clock=clock)
    assert silent.all() == []


def test_a_study_that_a_back_fill_brought_is_planned_as_it_wants(shelf: Shelf) -> None:
    """Its families alone, by night; and not before all of it has come."""
    backfill = shelf.backfills.order(
        Range(archive="pacs", first=DAYS[0], last=DAYS[0], families=("glaucoma",)), actor="person"
    )
    ordered = shelf.backfills.get(backfill)
    assert ordered is not None
    shelf.backfills.found(ordered, DAYS[0], [("1.2.1", "20261118")])
    held = shelf.retrievals.claim("fetcher", "pacs", anytime_only=False, lease_s=60)
    assert held is not None
    shelf.retrievals.ask(held)
    receive(shelf, 1)
    receive(shelf, 2)
    settle(shelf)
    assert {row["study_instance_uid"] for row in jobs(shelf)} == {"1.2.2"}
    shelf.retrievals.settle(held, RetrievalEvent.DONE)
    settle(shelf)
    assert [(row["family"], row["state"]) for row in jobs(shelf) if row["study_instance_uid"] == "1.2.1"] == [
        ("glaucoma", "waiting")
    ]


def test_another_version_annotates_again_and_names_its_predecessor(shelf: Shelf) -> None:
    """By night unless said otherwise; of one family if wanted; asking twice orders nothing twice."""
    receive(shelf, 1)
    settle(shelf)
    run_all(shelf)
    (study,) = shelf.reannotations.studies(*DAYS, TOKYO)
    assert again(shelf, "1").look(study, Wish()).orders == ()

    wish = Wish(families=("glaucoma",), window="night")
    assert len(again(shelf, "2").look(study, wish).orders) == 1
    for _ in range(2):
        again(shelf, "2").order(study, wish, actor="person")
    again(shelf, "2").order(study, Wish(window="now"), actor="person")
    told = [(row["family"], row["estimator"], row["state"], row["after_job_id"]) for row in jobs(shelf)]
    first, second = jobs(shelf)[0]["id"], jobs(shelf)[1]["id"]
    assert told == [
        ("glaucoma", "glaucoma@1", "reported", None),
        ("systemic", "systemic@1", "reported", None),
        ("glaucoma", "glaucoma@2", "waiting", first),
        ("systemic", "systemic@2", "queued", second),
    ]


def test_what_has_not_ended_is_not_overtaken(shelf: Shelf) -> None:
    """A job that waits is given to the new version by `adopt`: a second one would collide with it."""
    receive(shelf, 1)
    settle(shelf)
    (study,) = shelf.reannotations.studies(*DAYS, TOKYO)
    told = tell([again(shelf, "2").order(study, Wish(), actor="person")])
    assert (told.jobs, told.under_way) == ({}, 2)
    (job,) = shelf.claim()
    told = tell([again(shelf, "2").order(study, Wish(), actor="person")])
    assert (told.jobs, told.under_way) == ({}, 2)
    shelf.finish(job, event=JobEvent.REJECT)
    told = tell([again(shelf, "2").order(study, Wish(), actor="person")])
    assert (dict(told.jobs), told.under_way) == ({"glaucoma": 1}, 1)
    assert shelf.jobs.adopt("systemic", "systemic@2", eyes=("R",), actor="upkeep") == 1


def test_removed_images_cannot_be_annotated_again(shelf: Shelf) -> None:
    """Retention has removed them: it is said, and nothing is ordered that would fail."""
    receive(shelf, 1)
    settle(shelf)
    run_all(shelf)
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now()))
    (study,) = shelf.reannotations.studies(*DAYS, TOKYO)
    told = tell([again(shelf, "2").order(study, Wish(), actor="person")])
    assert (told.jobs, told.removed) == ({}, 2)
    assert len(jobs(shelf)) == 2


def test_days_are_those_of_the_images(shelf: Shelf) -> None:
    """When they were taken, as the device wrote it; where it wrote nothing, when they came, in the site's time."""
    taken = {1: "20261117235959", 2: "20261118", 3: "20261119235959", 4: "20261120000000", 5: ""}
    for number, acquired_at in taken.items():
        receive(shelf, number, acquired_at=acquired_at)
    assert shelf.reannotations.studies(*DAYS, TOKYO) == [], "open studies are planned when they settle"
    settle(shelf)
    assert shelf.reannotations.studies(*DAYS, TOKYO) == [2, 3]
    today = date(2026, 11, 20)
    assert shelf.reannotations.studies(today, today, TOKYO) == [4, 5]


ARCHIVES = """
[[archives]]
name = "{name}"
host = "127.0.0.1"
port = 1
"""


@pytest.fixture
def command(tmp_path: Path) -> Any:
    """Calls `oculard` on a configuration of its own; gives exit code, output and what was said."""
    from typer.testing import CliRunner

    file = tmp_path / "oculard.toml"

    def call(*arguments: str, archives: tuple[str, ...] = ("pacs",)) -> Any:
        text = CONFIGURATION.format(folder=tmp_path) + "".join(ARCHIVES.format(name=name) for name in archives)
        file.write_text(text, encoding="utf-8")
        App(load(file), SystemClock()).database.upgrade()
        return CliRunner().invoke(build(), ["--config", str(file), *arguments])

    return call


RANGE = ("--from", "2026-11-01", "--to", "20261103")


@pytest.mark.parametrize(
    ("arguments", "archives", "words"),
    [
        ((), ("pacs",), "say which days"),
        (("--from", "2026-11-03", "--to", "2026-11-01"), ("pacs",), "ends before it begins"),
        (RANGE, (), "no archive is configured"),
        (RANGE, ("pacs", "other"), "say which archive: pacs, other"),
        ((*RANGE, "--archive", "x"), ("pacs",), "no archive is called `x`"),
        ((*RANGE, "--family", "x"), ("pacs",), "no family is called `x`"),
        (("--stop", "7"), ("pacs",), "not under way"),
        (("--retry", "7"), ("pacs",), "nothing to try again"),
    ],
)
def test_a_wrong_order_is_refused(
    command: Any, arguments: tuple[str, ...], archives: tuple[str, ...], words: str
) -> None:
    """With words that say what is wrong."""
    done = command("backfill", *arguments, archives=archives)
    assert done.exit_code != 0
    assert words in str(done.exception)


def test_an_order_is_kept_though_nobody_fetches(command: Any) -> None:
    """It says so and exits with 1; the list shows it; of two archives one is named; modalities are the night's."""
    done = command("backfill", *RANGE, "--archive", "other", archives=("pacs", "other"))
    assert done.exit_code == 1
    assert "no fetcher runs" in done.output
    assert command("backfill", *RANGE, "--modality", "all", "--detach").exit_code == 1
    shown = command("backfill", "--list").output.splitlines()
    assert len(shown) == 3
    assert "OP OPT OPTBSV OPTENF" in shown[2]
    assert "\tall\t" in shown[1]
    assert command("backfill", "--stop", "1").exit_code == 0
    assert "stopped" in command("backfill", "--list").output


def test_an_order_whose_archive_has_left_the_configuration_is_named(command: Any) -> None:
    """It waits for ever, in the list and in the status, until it is stopped or its archive comes back."""
    command("backfill", *RANGE, "--archive", "other", archives=("pacs", "other"))
    assert "archive-unknown" not in command("backfill", "--list", archives=("pacs", "other")).output
    for shown in (("backfill", "--list"), ("status",)):
        assert "archive-unknown" in command(*shown).output
    command("backfill", "--stop", "1")
    assert "archive-unknown" not in command("backfill", "--list").output


def answer_for(app: App, remarks: dict[str, int]) -> None:
    """A fetcher that finds no study on any day, and says what the archive did."""
    app.roles.beat("fetcher@here", "fetcher", {})
    while not (orders := app.backfills.recent(active=True)):
        app.clock.sleep(0.01)
    while (found := app.backfills.get(orders[0].id)) and found.next_day:
        app.backfills.found(found, found.next_day, [])
    app.backfills.remark(orders[0].id, remarks)
    app.backfills.finish("pacs")


@pytest.mark.parametrize(
    ("remarks", "code"), [({}, 0), ({"day-in-parts": 1}, 0), ({"day-not-answered": 1}, 1), ({"too-many-matches": 2}, 1)]
)
def test_an_order_with_days_that_nobody_knows_is_not_well(
    command: Any, tmp_path: Path, remarks: dict[str, int], code: int
) -> None:
    """No study failed, but not all of them are known: the exit code is 1, with words."""
    command("backfill", "--list")
    app = App(load(tmp_path / "oculard.toml"), SystemClock())
    app.roles.beat("fetcher@here", "fetcher", {})
    with ThreadPoolExecutor(1) as threads:
        answering = threads.submit(answer_for, app, remarks)
        done = command("backfill", *RANGE, "--anytime")
        answering.result()
    assert done.exit_code == code, done.output
    assert ("not all known" in done.output) == bool(code)


def test_a_daemon_has_one_fetcher() -> None:
    """The pace of an archive is that of a process: the description says so."""
    from oculard.roles import roles_of

    settings = Settings(archives=[Archive(name="pacs", host="pacs", associations=4)])
    assert roles_of(settings).count("fetcher") == 1
    assert "by each fetcher" in str(Archive.model_fields["studies_per_min"].description)


def test_reannotating_nothing_says_so(command: Any) -> None:
    """An empty store has nothing to do again."""
    done = command("reannotate", *RANGE, "--dry-run")
    assert done.exit_code == 0
    assert "0 studies of these days are here" in done.output


def test_a_fetcher_runs_only_where_there_is_something_to_fetch() -> None:
    """The supervisor starts none for a clinic without archives and folders."""
    from oculard.roles import roles_of

    assert "fetcher" not in roles_of(Settings())
    assert "fetcher" in roles_of(Settings(archives=[Archive(name="pacs", host="pacs")]))
