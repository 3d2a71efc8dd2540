"""The documents keep up: every reason, alarm, command and setting of the program stands in them."""

import re
from collections import Counter
from pathlib import Path

from typer.main import get_command

from oculard.cli.commands import build
from oculard.delivery.statuses import REJECTED, STORE, Trouble
from oculard.imaging import spacing
from oculard.inference import en_face, volume, volume_photograph, volume_reading
from oculard.intake import door, policy
from oculard.intake.handlers import REPLIES
from oculard_models import structures
from oculard_models.quality import REASONS

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
MODELS = [
    path for room in ("", "structures", "volumes") for path in (ROOT / "models" / "oculard_models" / room).glob("*.py")
]
MODELS.append(ROOT / "models" / "oculard_models" / "importers" / "topcon_file.py")
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
    reasons |= {*en_face.WORDS, en_face.NO_WANTED_SLAB, spacing.MISSING, spacing.IMPLAUSIBLE}
    reasons |= {*volume_reading.WORDS, volume.RETINA_IN_PART, "no-normative", "layers-incomplete", "layers-implausible"}
    reasons |= {volume_photograph.NO_FINDER}
    reasons |= {*door.HINTS, *policy.NEVER_ALLOWED}
    reasons |= {structures.NO_NUMBERS, structures.NO_STRUCTURE, structures.TOUCHES_BORDER}
    for path in (*(ROOT / "daemon" / "oculard").rglob("*.py"), MODELS[-1]):
        for slug in SLUGS:
            reasons |= set(re.findall(slug, path.read_text(encoding="utf-8")))

    assert sorted(reason for reason in reasons if f"`{reason}`" not in RUNBOOK) == []


def test_the_runbook_speaks_of_no_reason_that_is_gone() -> None:
    """A slug that the program does not know any more misleads."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "daemon" / "oculard").rglob("*.py"))
    code += "".join(path.read_text(encoding="utf-8") for path in MODELS)
    tables = RUNBOOK[RUNBOOK.index("### Alarms") :]
    slugs = {
        slug
        for line in tables.splitlines()
        if line.startswith("| `")
        for slug in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", line)
    }

    assert sorted(slug for slug in slugs if f'"{slug}' not in code) == []


def section(title: str) -> list[list[str]]:
    """The cells of each row of the runbook's table under a title."""
    text = RUNBOOK[RUNBOOK.index(f"### {title}") :].split("\n#", 1)[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]


def test_the_runbook_names_the_status_of_every_refused_instance() -> None:
    """What a device is answered stands in the table of C-STORE answers, and nothing else does."""
    rows = section("Intake: an instance is not taken")
    told = {reason: int(status, 16) for reasons, status, _ in rows for reason in re.findall(r"`([a-z-]+)`", reasons)}

    others = {"unexpected": 0xA700, "not-acceptable": 0xA700}  # whatever has no answer of its own
    assert told == {reason: reply.status for reason, reply in REPLIES.items()} | others


def test_the_runbook_says_where_a_reason_comes_from() -> None:
    """A reason under the wrong title sends its reader to the wrong machine."""
    for reason, title in (
        ("not-offered", "Intake: an association"),
        ("bad-message", "Intake: an association"),
        ("unparsable", "Storage commitment that devices"),
        ("vault-unreadable", "Deliveries"),
        ("vault-unwritable", "Jobs"),
    ):
        assert any(f"`{reason}`" in row[0] for row in section(title)), reason
    (row,) = (row for row in section("Deliveries") if "`file-unreadable`" in row[0])
    assert "`oculard send`" in row[-1]


def test_every_rejection_is_in_the_conformance_statement() -> None:
    """Result, source and diagnostic of every A-ASSOCIATE-RJ."""
    statement = (ROOT / "deploy" / "CONFORMANCE.md").read_text(encoding="utf-8")
    for rejection in (policy.CALLED_UNKNOWN, policy.CALLING_UNKNOWN, policy.CONGESTED, policy.LIMIT_REACHED):
        assert "/".join(map(str, rejection)) in statement, rejection


def test_nothing_is_defined_twice() -> None:
    """A slug belongs to one class, and the commitment UIDs stand in one place."""
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "daemon" / "oculard").rglob("*.py")]
    slugs = Counter(slug for text in code for slug in re.findall(r"^    reason = \"([a-z0-9-]+)\"", text, re.MULTILINE))

    assert [slug for slug, count in slugs.items() if count > 1] == []
    assert sum(text.count('"1.2.840.10008.1.20.1') for text in code) == 2  # the class and its instance


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
