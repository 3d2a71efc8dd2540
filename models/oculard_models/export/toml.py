"""Writes a manifest as the TOML that `read_manifest` reads."""

from __future__ import annotations

import json
from typing import Any

from oculard_models.manifest import Manifest


def manifest_toml(manifest: Manifest) -> str:
    """Write a manifest as TOML, so that `read_manifest` gives the same manifest again."""
    content = manifest.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    outputs = content.pop("output")
    lines = [_line(key, value) for key, value in content.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_table(name, table)]
    for output in outputs:
        stated = {key: value for key, value in output.items() if value != []}
        lines += ["", "[[output]]", *_table("output", stated)]
    return "\n".join(lines) + "\n"


def _table(name: str, table: dict[str, Any]) -> list[str]:
    """Write one table: its plain values, then the tables in it."""
    plain = [_line(key, value) for key, value in table.items() if not isinstance(value, dict)]
    for key, inner in table.items():
        if isinstance(inner, dict):
            plain += ["", f"[{name}.{key}]", *_table(f"{name}.{key}", inner)]
    return plain


def _line(key: str, value: object) -> str:
    """Write `key = value`; JSON's strings, numbers, booleans and flat lists are TOML's too."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
