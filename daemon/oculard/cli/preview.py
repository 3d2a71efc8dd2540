"""`backfill --dry-run`: the archive is asked, nothing is changed, and of each study it is said what would be done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from oculard.cli.context import print_json, print_table, say

if TYPE_CHECKING:
    from oculard.app import App
    from oculard.retrieve.archive import Archive
    from oculard.settings_night import Archive as Entry
    from oculard.store.backfills import Range

COLUMNS = ("study_date", "study_instance_uid", "series", "instances", "held", "would")


def print_preview(app: App, entry: Entry, wanted: Range, *, as_json: bool) -> None:
    """Ask the archive and print."""
    from oculard.retrieve.archives import archive_of

    archive = archive_of(entry, app.settings, app.vault)
    try:
        rows = list(_rows(app, archive, wanted))
    finally:
        archive.close()
    if as_json:
        print_json({"studies": rows, "remarks": dict(archive.remarks)})
    else:
        print_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    say(f"{len(rows)} studies, {sum(row['would'] == 'fetch' for row in rows)} would be fetched")
    for reason, count in archive.remarks.items():
        say(f"the archive: {reason}, {count} times")


def _rows(app: App, archive: Archive, wanted: Range) -> Iterator[dict[str, Any]]:
    """A row for each study, day by day."""
    from oculard.job import Wish
    from oculard.retrieve.backfill import missing
    from oculard.retrieve.day import find_day

    again, wish = app.reannotation, Wish(families=wanted.families)
    for number in range((wanted.last - wanted.first).days + 1):
        for one in find_day(archive, wanted.first + timedelta(days=number), wanted.modalities):
            held = app.retrievals.held(one.study_instance_uid)
            counts = archive.count_series(one.study_instance_uid)
            expected = {series: count for series, count in counts.items() if series not in held.ours}
            would = "fetch"
            if not missing(expected, held.known):
                found = None if held.study_id is None else again.look(held.study_id, wish)
                comes = found and found.removed and missing(expected, held.present)
                would = "fetch" if comes else "annotate" if found and found.orders else "nothing"
            yield {
                "study_date": one.study_date,
                "study_instance_uid": one.study_instance_uid,
                "series": len(expected),
                "instances": sum(expected.values()),
                "held": sum(held.present.values()),
                "would": would,
            }
