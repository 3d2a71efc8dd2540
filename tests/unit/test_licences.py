"""The licences of what the daemon needs: all are named, none wants more than notice, and no package is forgotten."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from oculard.cli.licences import found

LOCK = Path(__file__).parents[2] / "requirements.lock"


def locked() -> set[str]:
    """What the lock file names, as far as it is installed on this system."""
    names = re.findall(r"^([a-z0-9][a-z0-9._-]*)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {name for name in names if _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def test_every_locked_package_is_listed() -> None:
    """The list is the lock file's, and the daemon itself."""
    listed = {re.sub(r"[-_.]+", "-", one.package).lower() for one in found("oculard")}

    assert len(locked()) > 50
    assert listed == locked() | {"oculard"}


def test_nothing_here_wants_more_than_notice() -> None:
    """Every package says its licence, and none is a strict copyleft."""
    assert [one for one in found("oculard") if one.look] == []


@pytest.mark.parametrize(
    ("metadata", "licence", "look"),
    [
        ("License-Expression: MIT", "MIT", ""),
        ("License-Expression: GPL-3.0-only", "GPL-3.0-only", "copyleft"),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", None, "copyleft"),
        ("Classifier: License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", None, ""),
        ("License: LGPL-2.1", "LGPL-2.1", ""),
        ("Summary: says nothing", "", "unknown"),
    ],
)
def test_what_needs_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, licence: str | None, look: str
) -> None:
    """A package without a licence and one under GPL or AGPL are shown to a person; LGPL is used as a library."""
    folder = tmp_path / "probe-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: probe\nVersion: 1.0\n{metadata}\n")
    monkeypatch.syspath_prepend(tmp_path)

    (one,) = found("probe")

    assert one.look == look
    assert licence is None or one.licence == licence
