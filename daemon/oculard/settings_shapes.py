"""What every section of the settings is made of: its base class, and the shapes of names, titles and times."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AE_TITLE = r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$"  # PS3.5 6.2, VR AE
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
PLAIN = r"^[\x20-\x7e]+$"
WORD = r"^[\x21-\x7e]+$"
SHAPES = {  # what a person is told instead of a pattern
    AE_TITLE: "expected an AE title: 1 to 16 ASCII characters, no backslash, no space at either end",
    SLUG: "expected small letters, digits and single hyphens, as in `topcon-1`",
    CLOCK: "expected a time as in `20:00`",
    PLAIN: "expected ASCII text: it is written into reports of every character set",
    WORD: "expected ASCII without spaces",
}
AeTitle = Annotated[str, Field(pattern=AE_TITLE)]
Port = Annotated[int, Field(ge=0, le=65535)]
Slug = Annotated[str, Field(pattern=SLUG, max_length=32)]
Clocktime = Annotated[str, Field(pattern=CLOCK)]


class Section(BaseModel):
    """One table of the file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_time_zone(name: str) -> str:
    """Return an IANA name as it is. Raises ValueError for an unknown one."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"`{name}` is not an IANA time zone") from None
    return name
