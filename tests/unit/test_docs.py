"""The documents keep up: every reason, alarm, command and setting of the program stands in them."""

import re
from pathlib import Path

from typer.main import get_command

from oculard.cli.commands import build
from oculard.delivery.statuses import REJECTED, STORE, Trouble
from oculard.intake.handlers import REPLIES
from oculard_models.quality import REASONS

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
SLUGS = (
    r"reason ?= ?\"([a-z0-9-]+)\"",
    r"Undecodable\(\s*\"([a-z-]+)\"",
    r"raise_\(\"([a-z-]+)\"",
    r"raise_alarm\(connection, name=\"([a-z-]+)\"",
    r"BadRequest\(\"([a-z-]+)\"",
)


def test_every_reason_is_in_the_runbook() -> None:
    """Whatever slug the program may print, the runbook says what to do about it."""
    reasons = (
        {row[3] for row in STORE} | {row[1] for row in REJECTED.values()} | set(Trouble) | set(REPLIES) | set(REASONS)
    )
    for path in (ROOT / "daemon" / "oculard").rglob("*.py"):
        for slug in SLUGS:
            reasons |= set(re.findall(slug, path.read_text(encoding="utf-8")))

    assert sorted(reason for reason in reasons if f"`{reason}`" not in RUNBOOK) == []


def test_the_runbook_speaks_of_no_reason_that_is_gone() -> None:
    """A slug that the program does not know any more misleads."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "daemon" / "oculard").rglob("*.py"))
    code += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "models" / "oculard_models").glob("*.py"))
    tables = RUNBOOK[RUNBOOK.index("### Alarms") :]
    slugs = {
        slug
        for line in tables.splitlines()
        if line.startswith("| `")
        for slug in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", line)
    }

    assert sorted(slug for slug in slugs if f'"{slug}' not in code) == []


def test_every_command_is_in_the_readme_or_the_runbook() -> None:
    """A verb nobody reads about is a verb nobody uses."""
    words = (ROOT / "README.md").read_text(encoding="utf-8") + RUNBOOK
    commands = get_command(build()).commands  # type: ignore[attr-defined]  # it is a group

    named = {name for name in commands if re.search(rf"oculard (--config \S+ )?{name}\b|`{name}`", words)}
    assert sorted(set(commands) - named) == []


def test_the_documents_speak_of_the_project_alone() -> None:
    """No machine's paths and no registry's hosts."""
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "deploy").iterdir(),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("requirements*.lock"),
    ):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/work/|/tmp/|pypi\.org|pythonhosted|localhost:\d", text), path
