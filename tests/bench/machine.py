"""What was measured on what: the machine, the versions, and the commit of the tree."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import peers
import postgres

ROOT = Path(__file__).parents[2]
DATABASES = ("sqlalchemy", "psycopg", "procrastinate")
NETWORKS = ("onnxruntime", "openvino", "torch", "timm", "numpy", "pillow")
PACKAGES = ("oculard", "pynetdicom", "pydicom", *DATABASES, *NETWORKS)
ABSENT = "not installed"
GIB = 1 << 30


def machine() -> dict[str, str]:
    """One line each, in the order in which they are shown."""
    binaries = postgres.find_binaries()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.2f} before it began: 0 is a quiet machine",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _package(name) for name in PACKAGES},
        "sqlite": sqlite3.sqlite_version,
        "postgresql": ABSENT if binaries is None else _said([str(binaries / "postgres"), "--version"]),
        "orthanc": _peer("Orthanc"),
        "dcmtk": _peer("storescp"),
    }


def commit(tree: Path) -> str:
    """The revision that is checked out there, and whether the files are still those of it."""
    git = shutil.which("git")
    if git is None:
        return "not known: git is not installed"
    try:
        revision = _run([git, "-C", str(tree), "rev-parse", "HEAD"])
        changed = _run([git, "-C", str(tree), "status", "--porcelain"]).splitlines()
    except subprocess.CalledProcessError:
        return "not known: this is no working tree of git"
    return f"{revision} {f'and {len(changed)} changed files' if changed else 'as it is'}"


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def _peer(name: str) -> str:
    found = shutil.which(name, path=peers.SYSTEM_PATH)
    return ABSENT if found is None else _said([found, "--version"])


def _said(command: Sequence[str]) -> str:
    """The first line of what a program says of its version."""
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    return (said.stdout + said.stderr).strip().partition("\n")[0]


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    """The processor's name as Linux gives it, and its units for short numbers."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    units = [unit for unit in ("avx512_bf16", "amx_bf16", "avx512_vnni") if unit in found.get("flags", "").split()]
    return " ".join([found.get("model name") or platform.processor(), *units])
