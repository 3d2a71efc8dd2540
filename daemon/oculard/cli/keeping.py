"""`backup` and `restore`: a copy of what must not be lost, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard.cli.context import AsJson, context, local, print_json, print_lines, say

if TYPE_CHECKING:
    from oculard.store.bringing import Brought
    from oculard.store.copying import Tell
    from oculard.store.manifest import Manifest
    from oculard.store.restore import Again, Put

LISTED_MAX = 20
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The backup's folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore):
        app.command(rich_help_panel="Keeping")(command)


def backup(
    ctx: typer.Context,
    folder: Folder,
    files: Annotated[
        bool, typer.Option("--files", help="The vault's files too: linked on the same disk, copied elsewhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the database as of one moment, while the daemon runs, with an index of the vault. May be run again and again
    into the same folder: the backup before stays whole until the new one is, and files that are there are not copied
    twice. What retention removes later stays in the backup. Exit code 1 when files of the vault are missing."""
    from oculard.store.backup import Backup

    app = context(ctx).checked_app
    making = Backup(app.database, app.vault, app.clock, folder)
    with making.alone():
        with _progress() as tell:
            draft = making.draft(tell)
            brought = making.bring_files(draft, tell) if files else None
        made = making.publish(draft, brought)
    if as_json:
        print_json({"manifest": asdict(made), "files": None if brought is None else asdict(brought)})
    else:
        _print_backup(made, brought)
    if brought is not None and (brought.missing or brought.damaged):
        say("not every file of the vault was there and whole: is its disk mounted? `oculard status` shows damage")
        raise typer.Exit(1)


def _print_backup(made: Manifest, brought: Brought | None) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in made.counts.items())
    print_lines([f"database of {local(made.made_at)}, revision {made.revision}: {counts}"])
    if brought is None:
        print_lines([f"{made.files} files are listed, not copied: --files copies them"])
    else:
        gone = f"{brought.missing} missing, {brought.damaged} damaged in the vault"
        print_lines([f"files: {brought.new} new, {brought.there} there already, {gone}"])


def restore(
    ctx: typer.Context,
    folder: Folder,
    check: Annotated[
        bool, typer.Option("--check", help="Only see that the backup is whole; set aside what is damaged.")
    ] = False,
    leave_damaged: Annotated[
        bool, typer.Option("--leave-damaged", help="Restore although some of the backup's files are damaged.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of an empty database, bring back what the vault has lost, and take into custody again what
    came after the backup. Give it again where it broke off: it goes on. Exit code 1 when files are missing."""
    from oculard.process import is_dead
    from oculard.store.manifest import BackupDamaged
    from oculard.store.restore import Restore

    app = context(ctx).app
    way = Restore(app.database, app.vault, app.clock, folder)
    with _progress() as tell:
        manifest, damaged = way.verify(tell)
        if damaged and not leave_damaged:
            _list("damaged in the backup", damaged)
            hint = "--leave-damaged restores the rest; what the vault itself still has is not lost"
            if check:
                way.set_aside(damaged)
                hint = "set aside as `.damaged`: the next `oculard backup DIR --files` brings them anew"
            raise BackupDamaged(f"{len(damaged)} files are not what was written", hint=hint)
        if check:
            say(f"whole: {folder}, of {local(manifest.made_at)}, revision {manifest.revision}")
            return
        goes_on = way.check_place(manifest, is_dead=is_dead)
        app.vault.prepare()
        put = way.put_files(manifest, damaged, tell)
        before, after = way.go_on() if goes_on else way.put_database(manifest)
        again = way.take_again(app.take_orphan, tell)
    under_way = _under_way(app.trace.counts())
    if as_json:
        told = {"manifest": asdict(manifest), "revision": after, "files": asdict(put), "later": asdict(again)}
        print_json(told | {"under_way": under_way})
    else:
        _tell_restored(f"{local(manifest.made_at)}, revision {before} -> {after}", put, again, under_way)
    if put.missing or again.aside:
        raise typer.Exit(1)


def _under_way(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """What had not ended when the backup was made: what was done of it since is done again."""
    return {
        "jobs": sum(counts["job"].get(state, 0) for state in ("waiting", "queued", "running")),
        "deliveries": sum(counts["delivery"].get(state, 0) for state in ("pending", "sending", "sent")),
    }


def _tell_restored(database: str, put: Put, again: Again, under_way: dict[str, int]) -> None:
    print_lines(
        [
            f"database of {database}",
            f"files: {put.there} there, {put.copied} copied back, {len(put.missing)} missing",
            f"images that came after the backup: {again.taken} taken again, {again.aside} set aside in orphans/",
            f"{under_way['jobs']} jobs and {under_way['deliveries']} deliveries had not ended then: what was done since"
            " is done and sent again, under the same UIDs",
        ]
    )
    _list("missing", put.missing)


def _list(what: str, paths: list[str]) -> None:
    for path in paths[:LISTED_MAX]:
        say(f"{what}: {path}")
    if len(paths) > LISTED_MAX:
        say(f"{what}: {len(paths) - LISTED_MAX} more; --json lists all that are missing")


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on stderr for each thing that is told."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    bars: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:

        def tell(what: str, done: int, all_: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=None)
            progress.update(bars[what], completed=done, total=all_ or None)

        yield tell
