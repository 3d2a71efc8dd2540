"""The one list of alarms: what the program may raise is in it, what is in it is raised, and all is explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from oculard import alarm
from oculard.alarm import CONDITIONS, Clears, sentence
from oculard.delivery.parcel import ReportDamaged

ROOT = Path(__file__).parents[2]
CODE = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "daemon" / "oculard").rglob("*.py"))]
RAISING = {"raise_", "raise_alarm", "only", "_stand"}
REASONS = {"why.reason": ReportDamaged.reason}  # where an error's reason is the alarm's name
HANDED_ON = "name"  # a parameter: its caller is looked at


def constants() -> dict[str, set[str]]:
    """Every text under the name in capitals that a module gives it."""
    found: dict[str, set[str]] = {}
    for module in CODE:
        for statement in module.body:
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    names, values = (
                        (target.elts, statement.value.elts)
                        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple)
                        else ([target], [statement.value])
                    )
                    for name, value in zip(names, values, strict=True):
                        if isinstance(name, ast.Name) and isinstance(value, ast.Constant):
                            found.setdefault(name.id, set()).add(str(value.value))
    return found


def name_arguments() -> Iterator[ast.expr]:
    """The alarm's name in every call that may raise one."""
    for module in CODE:
        for call in ast.walk(module):
            if not isinstance(call, ast.Call):
                continue
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            by_keyword = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
            if called in RAISING:
                yield (by_keyword or call.args)[0]


def raised() -> set[str]:
    """The names that the code raises."""
    names, known = set[str](), constants()
    for argument in name_arguments():
        words = ast.unparse(argument)
        if isinstance(argument, ast.Constant):
            names.add(str(argument.value))
        elif words in REASONS:
            names.add(REASONS[words])
        elif words != HANDED_ON:
            names |= {text for text in known[words] if text in CONDITIONS} or known[words]
    return names


def test_whatever_is_raised_is_in_the_list_and_the_reverse() -> None:
    """Nobody is told of an alarm without its meaning, and nobody reads of one that never comes."""
    assert raised() == set(CONDITIONS)


def test_each_has_its_row_in_the_runbook() -> None:
    """Name, meaning, what to do; and no row is left of one that is gone."""
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
    section = runbook[runbook.index("### Alarms") :].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]

    assert sorted(re.findall(r"`([a-z-]+)`", row[0])[0] for row in rows) == sorted(CONDITIONS)
    assert all(len(row) == 3 and all(row) for row in rows)
    assert (ROOT / alarm.RUNBOOK.partition("#")[0]).is_file()
    assert alarm.RUNBOOK.partition("#")[2] == "alarms"


def test_who_clears_an_alarm_by_hand_is_told_so() -> None:
    """The runbook gives the command where only a person ends it."""
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
    for condition in CONDITIONS.values():
        if condition.clears is Clears.PERSON:
            assert f"`oculard acknowledge {condition.name}" in runbook, condition.name


def test_each_is_one_sentence_in_two_languages() -> None:
    """Short, plain, ended."""
    for name in CONDITIONS:
        english, japanese = sentence(name), sentence(name, "ja")
        assert english.endswith("."), name
        assert english.count(".") == 1 or "[" in english, name
        assert japanese.endswith("。"), name
        assert len(name) <= 32, "the column's width"
    assert sentence("from-the-future") == ""
