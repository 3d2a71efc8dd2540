"""The settings as TOML: the example file with a comment on every key, and what is in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from oculard.settings import Peer, Sender, Settings, item_type
from oculard.settings_night import Archive, Folder
from oculard.settings_shapes import Section

HEAD = """\
# oculard: configuration.
# Every key stands here with its default; a key that is left out has that default. Unknown keys are errors.
# A key may be overridden by the environment: OCULARD_INTAKE__PORT=104. Check with `oculard config check`.
"""
SAMPLES: dict[str, Section] = {
    "senders": Sender(name="topcon-1", ae_title="TOPCON", addresses=["192.0.2.10"], expects="fundus-pair"),
    "peers": Peer(name="pacs", ae_title="PACS", host="192.0.2.20", port=104, commitment=True),
    "archives": Archive(name="pacs", ae_title="PACS", host="192.0.2.20", port=104),
    "folders": Folder(name="topcon-export", path=Path("/srv/topcon")),
}


def as_toml(settings: Settings, *, commented: bool) -> str:
    """The whole tree as TOML. With comments it is the example file, with a sample sender and peer commented out."""
    lines = [HEAD] if commented else []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Section):
            lines += [*_table(f"[{name}]", value, commented=commented, off=False), ""]
            continue
        item = item_type(field.annotation)
        assert item is not None, "a setting is a section or a list of sections"
        for entry in value:
            lines += [*_table(f"[[{name}]]", entry, commented=commented, off=False), ""]
        if commented and not value:
            lines += [*_table(f"[[{name}]]", SAMPLES[name], commented=True, off=True), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(header: str, section: Section, *, commented: bool, off: bool) -> Iterator[str]:
    if commented and section.__doc__:
        yield f"# {section.__doc__}"
    yield ("# " if off else "") + header
    nested = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section) and isinstance(field.annotation, type):
            nested.append((key, value))  # a table of its own, after the keys of this one
            continue
        if commented and field.description:
            yield f"# {field.description}"
        text = _value(value)
        yield f"{'# ' if off or text is None else ''}{key} = {text if text is not None else '...'}"
    for key, inner in nested:
        yield ""
        yield from _table(f"[{header.strip('[]')}.{key}]", inner, commented=commented, off=off)


def _value(value: Any) -> str | None:
    """A TOML value; None for what cannot be said in TOML or must not be said in a file."""
    if value is None or isinstance(value, SecretStr):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(part) or '""' for part in value) + "]"
    if isinstance(value, Section):
        value = {key: inner for key, inner in value if inner is not None and inner != []}
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + " }"
    raise TypeError(f"{type(value).__name__} has no TOML form")
