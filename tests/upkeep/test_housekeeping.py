"""Housekeeping: a bounded piece a wake-up, nothing lost that may be an acknowledged image, and a tidy database."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from beside import Beside
from oculard.errors import Rejected
from oculard.settings import Settings
from oculard.settings_night import Night
from oculard.settings_night import Retention as RetentionSettings
from oculard.store import tables
from oculard.store.digests import digest_of
from oculard.store.instances import Instances
from oculard.store.orphans import Orphans, Stray
from oculard.store.retention import Retention
from oculard.store.tidying import Tidying
from oculard.store.vault import DiskFull
from oculard.store.watched import Seen, Stamp, Watched
from oculard.upkeep import housekeeping
from oculard.upkeep.housekeeping import Housekeeping
from shelf import Shelf

PART = 0x12  # of the file that `stray` makes
DAYS = RetentionSettings(instances_days=1, reports_days=2)


def keeper(shelf: Shelf, take: Callable[[Path], object] | None = None, **changes: Any) -> Housekeeping:
    """The chores over a shelf; an orphan is taken as it is."""

    def by_the_door(path: Path) -> None:
        data = path.read_bytes()
        shelf.receive(f"1.{hashlib.sha256(data).hexdigest()[:6]}".translate(str.maketrans("abcdef", "123456")), data)

    values: dict[str, Any] = {
        "settings": RetentionSettings(),
        "night": Night(start="20:00", end="06:00"),
        "time_zone": "Asia/Tokyo",
        "retention": Retention(shelf.database, shelf.vault, shelf.clock, committing=[]),
        "orphans": Orphans(shelf.database, shelf.vault),
        "tidying": Tidying(shelf.database, shelf.clock),
        "watched": Watched(shelf.database, shelf.clock),
        "vault": shelf.vault,
        "alarms": shelf.alarms,
        "take": take or by_the_door,
        "is_idle": lambda: True,
        "clock": shelf.clock,
    }
    return Housekeeping(**(values | changes))


def stray(shelf: Shelf, room: str = "instances", *, hours: float = 25, data: bytes = b"", name: str = "") -> Path:
    """A file in the vault that no row knows, of the given age."""
    number = 0
    while not data or (not name and hashlib.sha256(data).hexdigest()[:2] != f"{PART:02x}"):
        data, number = b"orphan %d" % number, number + 1
    name = name or hashlib.sha256(data).hexdigest()
    path = shelf.vault.folder / room / f"{PART:02x}" / f"{name}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    at = (shelf.clock.now() - timedelta(hours=hours)).timestamp()
    os.utime(path, (at, at))
    return path


def a_round(chore: Callable[[], None]) -> None:
    """Every part of a room once."""
    for _ in range(256):
        chore()


def aside(shelf: Shelf) -> list[str]:
    """What lies in `orphans/`."""
    folder = shelf.vault.folder / "orphans"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def done_study(shelf: Shelf) -> None:
    """A study whose report is delivered."""
    shelf.receive("1.1", b"image")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job)
    for delivery in shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=9):
        shelf.took(delivery, awaits_commitment=False)


def test_nothing_is_removed_unless_a_number_says_so(shelf: Shelf) -> None:
    """0 days keep for ever; each kind of file has its own number."""
    done_study(shelf)
    shelf.clock.pass_(365 * 86_400)
    keeper(shelf).remove_files()
    assert shelf.study()["instances"][0]["removed_at"] is None

    keeper(shelf, settings=RetentionSettings(instances_days=1)).remove_files()
    assert shelf.study()["instances"][0]["removed_at"] is not None
    assert shelf.study()["reports"][0]["removed_at"] is None
    keeper(shelf, settings=RetentionSettings(reports_days=1)).remove_files()
    assert shelf.study()["reports"][0]["removed_at"] is not None


def test_retention_walks_through_all_studies_in_pieces(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up looks at so many studies; the next goes on from there, and then from the beginning."""
    monkeypatch.setattr(housekeeping, "STUDIES", 2)
    for number in range(5):
        shelf.receive(f"{number}.1", b"%d" % number, study_instance_uid=f"{number}")
    shelf.settle()
    for job in shelf.claim(limit=9):
        shelf.finish(job)
    for delivery in shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=9):
        shelf.took(delivery, awaits_commitment=False)
    shelf.clock.pass_(3 * 86_400)
    chores = keeper(shelf, settings=DAYS)

    left = []
    for _ in range(4):
        chores.remove_files()
        left.append(sum(1 for path in shelf.vault.folder.rglob("*.dcm") if "instances" in path.parts))
    assert left == [3, 1, 0, 0]


def test_an_image_that_no_row_knows_is_taken_again(shelf: Shelf) -> None:
    """After a restore it may have been acknowledged: it comes back by the normal door, and is nobody's orphan then."""
    path = stray(shelf)
    a_round(keeper(shelf).sweep_images)

    (image,) = shelf.study()["instances"]
    assert shelf.vault.path(image["path"]) == path.resolve()
    assert path.exists()
    assert aside(shelf) == []
    assert shelf.alarms.standing() == []


def test_a_young_file_is_on_its_way(shelf: Shelf) -> None:
    """The row is written after the file: nobody touches what is less than a day old."""
    image, report = stray(shelf, hours=23), stray(shelf, "reports", hours=23)
    chores = keeper(shelf, take=lambda path: pytest.fail(f"took {path}"))
    a_round(chores.sweep_images)
    a_round(chores.sweep_reports)

    assert image.exists()
    assert report.exists()


@pytest.mark.parametrize("why", [Rejected("no"), OSError(5, "no")])
def test_what_is_refused_is_set_aside_and_said(shelf: Shelf, why: Exception) -> None:
    """It is kept where a person may look; the alarm goes when the person has emptied the place."""

    def refuse(path: Path) -> None:
        raise why

    path = stray(shelf)
    chores = keeper(shelf, refuse)
    a_round(chores.sweep_images)

    assert aside(shelf) == [path.name]
    (alarm,) = shelf.alarms.standing()
    assert (alarm.name, alarm.subject.endswith("vault/orphans")) == ("orphan-files", True)

    (shelf.vault.folder / "orphans" / path.name).unlink()
    chores.sweep_images()
    assert shelf.alarms.standing() == []


def test_a_damaged_orphan_is_never_taken(shelf: Shelf) -> None:
    """A file that is not what its name says would become an image with wrong pixels; two of a name lie side by side."""
    chores = keeper(shelf, take=lambda path: pytest.fail(f"took {path}"))
    name = "12" + "0" * 62
    for data in (b"rotten", b"rotten again"):
        stray(shelf, data=data, name=name)
        a_round(chores.sweep_images)

    assert len(aside(shelf)) == 2


def test_a_full_disk_waits_and_sets_nothing_aside(shelf: Shelf) -> None:
    """The world failed, not the file."""

    def full(path: Path) -> None:
        raise DiskFull("no room")

    path, chores = stray(shelf), keeper(shelf, full)
    with pytest.raises(DiskFull):
        a_round(chores.sweep_images)
    assert path.exists()


def test_a_file_whose_row_says_removed_is_deleted(shelf: Shelf) -> None:
    """A kill between mark and deletion left it: the sweep finishes the work, for images and reports alike."""
    done_study(shelf)
    with shelf.database.write() as connection:
        for table in (tables.instance, tables.report):
            connection.execute(update(table).values(removed_at=shelf.clock.now()))
    chores = keeper(shelf, take=lambda path: pytest.fail(f"took {path}"))
    a_round(chores.sweep_images)
    a_round(chores.sweep_reports)

    assert list(shelf.vault.folder.rglob("*.dcm")) == []


def test_what_a_row_knows_stays(shelf: Shelf) -> None:
    """However old it is."""
    done_study(shelf)
    files = sorted(shelf.vault.folder.rglob("*.dcm"))
    shelf.clock.pass_(1000 * 86_400)
    chores = keeper(shelf, take=lambda path: pytest.fail(f"took {path}"))
    a_round(chores.sweep_images)
    a_round(chores.sweep_reports)

    assert sorted(shelf.vault.folder.rglob("*.dcm")) == files


def test_a_report_that_no_row_knows_is_deleted(shelf: Shelf) -> None:
    """Its worker died before the commit; the next one has written its own."""
    path = stray(shelf, "reports")
    a_round(keeper(shelf).sweep_reports)

    assert not path.exists()
    assert aside(shelf) == []


def test_a_report_that_is_written_again_meanwhile_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the deletion a worker may write the same bytes: the file is young then, or has its row."""
    young, known = stray(shelf, "reports"), stray(shelf, "reports", data=b"report", name="12" + "0" * 62)
    done_study(shelf)
    chores = keeper(shelf)
    look = chores.orphans.strays

    def late(*arguments: Any, **named: Any) -> list[Stray]:
        found = list(look(*arguments, **named))
        if not found:
            return found
        now = shelf.clock.now().timestamp()
        os.utime(young, (now, now))
        with shelf.database.write() as connection:
            connection.execute(update(tables.report).values(path=str(known.relative_to(shelf.vault.folder))))
        return found

    monkeypatch.setattr(chores.orphans, "strays", late)
    a_round(chores.sweep_reports)

    assert young.exists()
    assert known.exists()


def test_an_image_that_its_device_sends_again_is_not_set_aside(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotten file lies in its place: the sweep waits for the custody of the good one, and sees its row."""
    path = stray(shelf)
    data, kept = path.read_bytes(), str(path.relative_to(shelf.vault.folder))
    monkeypatch.setattr("oculard.store.orphans.digest_of", lambda *_: "rotten")
    beside = Beside(shelf, lambda: keeper(shelf).orphans.recover(Stray(path=kept, study_id=None), pytest.fail))
    monkeypatch.setattr(shelf.instances, "_record", beside.then(shelf.instances._record))
    shelf.receive("1.1", data)

    assert beside.end() is True
    assert path.exists()
    assert shelf.study()["instances"][0]["path"] == kept


def test_what_else_lies_in_the_spool_disturbs_nobody(shelf: Shelf) -> None:
    """A folder that a person made there stays; a link goes, and not what it leads to."""
    old = shelf.vault.spool / "old.dcm"
    old.write_bytes(b"old")
    (shelf.vault.spool / "folder").mkdir()
    (shelf.vault.spool / "link").symlink_to(shelf.vault.folder / "nowhere")

    assert shelf.vault.sweep_spool(older_than_s=0) == 2
    assert [path.name for path in shelf.vault.spool.iterdir()] == ["folder"]


def test_links_are_not_followed(shelf: Shelf, tmp_path: Path) -> None:
    """A link in the vault is nobody's file."""
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(b"outside")
    path = stray(shelf)
    link = path.parent / ("12" + "f" * 62 + ".dcm")
    path.unlink()
    link.symlink_to(outside)
    a_round(keeper(shelf, take=lambda path: pytest.fail(f"took {path}")).sweep_images)

    assert link.is_symlink()


def test_an_image_whose_file_is_gone_or_cut_is_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """One alarm an image, a few images a wake-up; what retention removed is not missed."""
    monkeypatch.setattr(housekeeping, "FILES", 2)
    for number in range(5):
        shelf.receive(f"1.{number}", b"image %d" % number)
    images = shelf.study()["instances"]
    shelf.vault.path(images[1]["path"]).unlink()
    shelf.vault.path(images[4]["path"]).write_bytes(b"")
    with shelf.database.write() as connection:
        removed = update(tables.instance).where(tables.instance.c.sop_instance_uid == "1.2")
        connection.execute(removed.values(removed_at=shelf.clock.now()))
    shelf.vault.path(images[2]["path"]).unlink()

    chores, found = keeper(shelf), []
    for _ in range(4):
        chores.look_at_files()
        found.append([alarm.subject for alarm in shelf.alarms.standing()])
    assert found == [["1.1"], ["1.1", "1.4"], ["1.1", "1.4"], ["1.1", "1.4"]]


def test_a_vault_that_is_gone_is_no_thousand_alarms(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are enough to send a person."""
    monkeypatch.setattr(housekeeping, "DAMAGED_MAX", 2)
    for number in range(5):
        shelf.receive(f"1.{number}", b"image %d" % number)
    for image in shelf.study()["instances"]:
        shelf.vault.path(image["path"]).unlink()
    keeper(shelf).look_at_files()

    assert [alarm.subject for alarm in shelf.alarms.standing()] == ["1.0", "1.1"]


def test_the_digest_of_an_image_leaves_its_meta_information_out(tmp_path: Path) -> None:
    """As intake names it: by the data set as received."""
    meta = b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0" + (6).to_bytes(4, "little") + b"rest.."
    path = tmp_path / "a.dcm"
    path.write_bytes(meta + b"data set")

    assert digest_of(path, "instances") == hashlib.sha256(b"data set").hexdigest()
    assert digest_of(path, "reports") == hashlib.sha256(meta + b"data set").hexdigest()


def test_a_file_that_has_long_gone_from_a_watched_folder_is_forgotten(shelf: Shelf) -> None:
    """After so many days as configured; what is there is seen again and again, and stays remembered."""
    watched = Watched(shelf.database, shelf.clock)
    watched.remember("usb", Seen(path="a.dcm", stamp=Stamp(size_bytes=1, mtime_ns=1), outcome="received"))
    chores = keeper(shelf, settings=RetentionSettings(watched_days=30))
    shelf.clock.pass_(29 * 86_400)
    chores.forget_watched()
    assert watched.known("usb", ["a.dcm"])

    with shelf.database.write() as connection:  # `known` has seen it now
        connection.execute(update(tables.watched_file).values(seen_at=shelf.clock.now() - timedelta(days=29)))
    shelf.clock.pass_(2 * 86_400)
    chores.forget_watched()
    assert watched.known("usb", ["a.dcm"]) == {}


class Spy:
    """Counts the vacuums."""

    def __init__(self) -> None:
        self.count = 0

    def vacuum(self) -> list[str]:
        """Once more."""
        self.count += 1
        return []


@pytest.mark.parametrize(("hour", "idle", "count"), [(23, True, 1), (12, True, 0), (23, False, 0)])
def test_the_database_is_vacuumed_by_night_and_when_nobody_works(
    shelf: Shelf, hour: int, idle: bool, count: int
) -> None:
    """Writers wait for a VACUUM: it has its time."""
    shelf.clock.at = datetime(2026, 11, 20, hour, tzinfo=UTC) - timedelta(hours=9)  # Tokyo
    spy = Spy()
    keeper(shelf, tidying=spy, is_idle=lambda: idle).vacuum_database()

    assert spy.count == count


def test_a_vacuum_gives_back_what_is_free_and_worth_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite: the file is smaller after; a second one has nothing to do. PostgreSQL: each busy table, once a week."""
    tidying = Tidying(shelf.database, shelf.clock)
    if not shelf.database.is_sqlite:
        shelf.clock.at = datetime.now(UTC)  # the server remembers by its own
        assert "job" in tidying.vacuum()
        with shelf.database.outside() as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        assert "job" not in tidying.vacuum()
        shelf.clock.pass_(8 * 86_400)
        assert "job" in tidying.vacuum()
        return
    monkeypatch.setattr("oculard.store.tidying.FREE_BYTES", 1 << 20)
    for number in range(40):
        shelf.receive(f"1.{number}", b"%d" % number, facts={"text": "x" * 100_000})
    with shelf.database.write() as connection:
        connection.execute(delete(tables.instance))
    tidying.optimize()
    assert shelf.database.file is not None
    before = shelf.database.file.stat().st_size

    assert tidying.vacuum() == ["main"]
    tidying.optimize()
    assert shelf.database.file.stat().st_size < before / 4
    assert tidying.vacuum() == []
    assert shelf.receive("2.1") == "received"  # transactions are as before


def test_a_vacuum_writes_its_copy_beside_the_database(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its room was looked for, and not into /var/tmp."""
    if not shelf.database.is_sqlite:
        return
    monkeypatch.setattr("oculard.store.tidying.FREE_BYTES", 1 << 20)
    for number in range(20):
        shelf.receive(f"1.{number}", b"%d" % number, facts={"text": "x" * 1_000_000})
    with shelf.database.write() as connection:
        connection.execute(delete(tables.instance).where(tables.instance.c.id > 8))
    seen = set[Path]()

    def look() -> None:
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                seen.update({link.readlink()} if "etilqs_" in link.readlink().name else ())

    with shelf.database.outside() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(look, 1)
    assert Tidying(shelf.database, shelf.clock).vacuum() == ["main"]

    assert shelf.database.file is not None
    assert {path.parent for path in seen} == {shelf.database.file.parent}


def test_a_small_gain_is_not_worth_a_vacuum(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much must be free, and such a share of all; a file that would hold up writers for long is left alone."""
    if not shelf.database.is_sqlite:
        return
    shelf.receive("1.1", facts={"text": "x" * 100_000})
    with shelf.database.write() as connection:
        connection.execute(delete(tables.instance))
    least = {"FREE_BYTES": 0, "FREE_SHARE": 0.0, "LIVE_BYTES_MAX": 1 << 30}
    for change in ({"FREE_BYTES": 1 << 30}, {"FREE_SHARE": 0.99}, {"LIVE_BYTES_MAX": 1000}):
        for name, value in (least | change).items():
            monkeypatch.setattr(f"oculard.store.tidying.{name}", value)
        assert Tidying(shelf.database, shelf.clock).vacuum() == [], change

    for name, value in least.items():
        monkeypatch.setattr(f"oculard.store.tidying.{name}", value)
    assert Tidying(shelf.database, shelf.clock).vacuum() == ["main"]


def test_the_program_wires_the_normal_door(shelf: Shelf, tmp_path: Path) -> None:
    """An orphan that intake itself has written is in custody again, with its own study and eye."""
    from pydicom import dcmread

    from daemons import paint_study
    from oculard.intake.role import folder_import

    settings = Settings()
    paths = paint_study(tmp_path / "painted", seed=3, size_px=64)
    door = folder_import(settings, Instances(shelf.database, shelf.vault, shelf.clock), shelf.vault, sender="orphan")
    for path in paths:
        door.take(path)
    with shelf.database.write() as connection:
        for table in (tables.event, tables.instance, tables.study):
            connection.execute(delete(table))
    shelf.clock.at = datetime.now(UTC) + timedelta(days=2)
    a_round(keeper(shelf, door.take).sweep_images)

    uids = {str(dcmread(path).SOPInstanceUID) for path in paths}
    (study,) = shelf.trace.find(next(iter(uids)))
    images = shelf.trace.study(study)["instances"]
    assert {image["sop_instance_uid"] for image in images} == uids
    assert all(shelf.vault.path(image["path"]).exists() for image in images)
    assert {image["sender"] for image in images} == {"orphan"}
    assert aside(shelf) == []
