"""`import DIR` and `send DIR`: files in by the same way as C-STORE, and files out to anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oculard.cli.context import AsJson, Context, context, print_json, print_table, say
from oculard.errors import Misconfigured

if TYPE_CHECKING:
    from rich.progress import Progress

    from oculard.delivery.scu import Target


Files = Annotated[Path, typer.Argument(help="A folder, with everything below it, or one file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import", rich_help_panel="Moving files")(import_)
    app.command(rich_help_panel="Moving files")(send)


def import_(ctx: typer.Context, path: Files, as_json: AsJson = False) -> None:
    """Take every instance below a folder into custody; the originals stay. Exit code 1 when any was refused.

    Topcon's own files (.fda, .fds) become DICOM on the way; of its exports is said which acquisitions are not whole.
    """
    from oculard.intake.role import folder_import
    from oculard.intake.topcon import exported

    _must_exist(path)
    app = context(ctx).app
    app.prepare()
    with _progress() as progress:
        done = list(
            progress.track(folder_import(app.settings, app.instances, app.vault).run(path), description="importing")
        )
    rows = [
        {
            "path": i.path,
            "outcome": i.outcome,
            "reason": i.reason,
            "hint": i.hint,
            "sop_instance_uid": i.sop_instance_uid,
        }
        for i in done
    ]
    _print(rows, as_json)
    for one in exported((i.path, i.sop_class_uid) for i in done):
        if one.wrong:
            say(f"{one.folder / one.name}*: {one.files} files of a Topcon acquisition, 2 or 9 are whole; {one.wrong}")
    refused = sum(row["outcome"] == "refused" for row in rows)
    say(f"{len(rows) - refused} in custody, {refused} refused")
    if refused or not rows:
        raise typer.Exit(1)


def send(
    ctx: typer.Context,
    path: Files,
    peer: Annotated[str | None, typer.Option(help="A peer of the configuration.")] = None,
    to: Annotated[str | None, typer.Option(help="Anyone else: AE_TITLE@HOST:PORT.")] = None,
    as_: Annotated[str | None, typer.Option("--as", help="Our AE title for this time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send every instance below a folder by C-STORE, bit for bit. Exit code 1 when any was not taken."""
    from oculard.delivery.files import send_files

    _must_exist(path)
    target = find_target(context(ctx), peer=peer, to=to, calling_ae=as_)
    paths = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
    with _progress() as progress:
        sent = list(progress.track(send_files(target, paths), total=len(paths), description="sending"))
    rows = [
        {
            "path": one.path,
            "outcome": "taken" if one.is_taken else "refused",
            "reason": one.reason,
            "hint": one.hint,
            "sop_instance_uid": one.sop_instance_uid,
        }
        for one in sent
    ]
    _print(rows, as_json)
    if not rows or not all(one.is_taken for one in sent):
        raise typer.Exit(1)


def find_target(found: Context, *, peer: str | None, to: str | None, calling_ae: str | None = None) -> Target:
    """The Target that `--peer NAME` or `--to AE@HOST:PORT` means. Raises Misconfigured."""
    from oculard.delivery.scu import Target

    settings = found.settings
    calling = calling_ae or settings.intake.ae_title
    if (peer is None) == (to is None):
        raise Misconfigured("say to whom", hint="either --peer NAME or --to AE_TITLE@HOST:PORT")
    if to is not None:
        ae_title, _, address = to.rpartition("@")
        host, _, port = address.rpartition(":")
        if not ae_title or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise Misconfigured(f"`{to}` is not AE_TITLE@HOST:PORT", hint="for example PACS@192.0.2.20:104")
        return Target(name=ae_title, host=host, port=int(port), called_ae=ae_title, calling_ae=calling)
    for configured in settings.peers:
        if configured.name == peer:
            return Target.of(configured, settings)
    raise Misconfigured(f"no peer is called `{peer}`", hint="`oculard config show` lists [[peers]]")


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise Misconfigured(f"{path} does not exist")


def _print(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        columns = ("outcome", "reason", "path", "hint")
        print_table(columns, [[row[column] for column in columns] for row in rows])


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)
