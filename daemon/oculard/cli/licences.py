"""`licences`: under which terms everything that this daemon needs is here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import typer

from oculard.cli.context import AsJson, print_json, print_table, say

ROOT = "oculard"
CLASSIFIER = "License :: "
TEXT_MAX = 60  # a longer one is a licence's whole text, not its name
NAME = re.compile(r"[A-Za-z0-9._-]+")
STRICT = re.compile(r"(?<!L)(?<!Lesser )GPL|Affero|(?<!Lesser )General Public License", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """One package, and what it says of itself."""

    package: str
    version: str
    licence: str
    look: str = ""  # why a person should look at it


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Keeping")(licences)


def licences(as_json: AsJson = False) -> None:
    """Every package that the daemon needs, with its version and licence. Exit code 1 when one needs a look."""
    rows = [asdict(one) for one in sorted(found(ROOT), key=lambda one: one.package.lower())]
    if as_json:
        print_json(rows)
    else:
        print_table(tuple(rows[0]), [list(row.values()) for row in rows])
    if any(row["look"] for row in rows):
        say("some say nothing of their licence, or want more than notice: see the last column")
        raise typer.Exit(1)


def found(root: str) -> Iterator[Licence]:
    """What a package needs, and what that needs, as far as it is installed; its extras are not followed."""
    seen, todo = {_plain(root)}, [root]
    while todo:
        try:
            here = distribution(todo.pop())
        except PackageNotFoundError:
            continue  # for another system, or another Python
        yield _licence(here)
        for needed in here.requires or ():
            name, _, marker = needed.partition(";")
            match = NAME.match(name)
            if match and "extra ==" not in marker and _plain(match[0]) not in seen:
                seen.add(_plain(match[0]))
                todo.append(match[0])


def _licence(here: Distribution) -> Licence:
    name = _named(here)
    look = "unknown" if not name else "copyleft" if STRICT.search(name) else ""
    return Licence(package=here.metadata["Name"], version=here.version, licence=name, look=look)


def _named(here: Distribution) -> str:
    """The expression of PEP 639; else the classifiers; else the free text, if it is short."""
    expression, text = (
        str(here.metadata[key] or "").strip() if key in here.metadata else ""
        for key in ("License-Expression", "License")
    )
    classifiers = [
        one.removeprefix(CLASSIFIER).rpartition(" :: ")[2]
        for one in here.metadata.get_all("Classifier") or ()
        if one.startswith(CLASSIFIER)
    ]
    short = text if len(text) <= TEXT_MAX and "\n" not in text else ""
    return expression or ("; ".join(classifiers) if classifiers not in ([], ["OSI Approved"]) else short)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
