"""Lenient decoding: text for people's eyes from bytes that may not be what their character set says.

Only for showing. What is stored and sent keeps the bytes (`raw.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.charset import python_encoding

# UTF-8 before Shift-JIS: Japanese Shift-JIS is never valid UTF-8, while UTF-8 often passes for nonsense in Shift-JIS.
GUESSES = ("iso2022_jp_ext", "utf-8", "cp932", "latin-1")
ESCAPES = {  # PS3.3 C.12.1.1.2: the codec for what follows, and whether it wants to see the sequence itself
    b"\x1b(B": ("ascii", False),
    b"\x1b(J": ("shift_jis", False),
    b"\x1b)I": ("shift_jis", False),
    b"\x1b$B": ("iso2022_jp", True),
    b"\x1b$(D": ("iso2022_jp_2", True),
    b"\x1b-A": ("latin-1", False),
    b"\x1b$)C": ("euc_kr", False),
    b"\x1b$)A": ("gb2312", False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A text, and whether it had to be guessed because the declared character set does not fit."""

    text: str
    guessed: bool


def decoded(value: bytes, declared: str) -> Decoded:
    """Decode bytes as declared (Specific Character Set, as it is in the file), else by the first codec that fits."""
    value = value.strip(b" \0")
    if value.isascii() and b"\x1b" not in value:  # reads the same under every declaration
        return Decoded(text=value.decode("ascii"), guessed=False)
    try:
        return Decoded(text=_as_declared(value, declared.split("\\")), guessed=False)
    except (UnicodeError, LookupError):
        pass  # the declaration is wrong or unknown, which is common: the guesses follow
    for codec in GUESSES:
        try:
            return Decoded(text=value.decode(codec), guessed=True)
        except UnicodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _as_declared(value: bytes, terms: list[str]) -> str:
    """Decode exactly as declared. Raises LookupError for an unknown term, UnicodeError for bytes that do not fit."""
    names = [term.strip() for term in terms]
    for name in names:
        python_encoding[name]  # KeyError is a LookupError
    first = "ascii" if names[0] in ("", "ISO_IR 6", "ISO 2022 IR 6") else str(python_encoding[names[0]])
    if len(names) == 1:
        if b"\x1b" in value:
            raise LookupError("an escape sequence without code extensions")
        return value.decode(first)
    fragments = re.split(rb"(?=\x1b)", value)
    return fragments[0].decode(first) + "".join(_fragment(fragment) for fragment in fragments[1:])


def _fragment(fragment: bytes) -> str:
    """Decode what one escape sequence introduces."""
    for escape, (codec, keeps) in ESCAPES.items():
        if fragment.startswith(escape):
            return fragment.decode(codec) if keeps else fragment[len(escape) :].decode(codec)
    raise LookupError("unknown escape sequence")
