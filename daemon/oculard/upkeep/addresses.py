"""Where people are told: Apprise URLs, read once. What they hold of secrets is never shown, logged or raised."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

from oculard.store.notices import ALARM, Content

SEND_S = 60  # for one message to one address, with whatever its service does
HTML_CHARS_MIN = 32_768  # a service that takes less HTML than that is a chat, which shows no page
ASSET = AppriseAsset(
    app_id="oculard",
    app_desc="oculard",
    app_url="",
    image_url_mask="",  # no picture from elsewhere
    interpret_emojis=False,
    http_redirects=False,  # what is redirected arrives nowhere, and would count as told
    service_timeout=SEND_S,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One URL. `place` is all of it that may be seen; `service` is None when nobody understands it."""

    place: str
    fingerprint: str  # the same for the same URL, and no way back to it
    service: Any = field(default=None, repr=False)

    @property
    def is_understood(self) -> bool:
        """Whether there is a service of that kind, and the URL has all that it needs."""
        return self.service is not None

    def give(self, kind: str, content: Content) -> bool:
        """Send it now; say whether the service took it. What went wrong its library says, and only that it did."""
        if self.service is None:
            return False
        one = Apprise(asset=ASSET)
        one.add(self.service)
        shows_page = content.html is not None and self._shows_pages()
        result = one.notify(
            title=content.title,
            body=str(content.html) if shows_page else content.text,
            body_format=NotifyFormat.HTML if shows_page else NotifyFormat.TEXT,
            notify_type=NotifyType.WARNING if kind == ALARM else NotifyType.INFO,
        )
        return bool(result)

    def _shows_pages(self) -> bool:
        takes_html = self.service.resolve_format(None) == NotifyFormat.HTML
        return bool(takes_html and self.service.body_maxlen >= HTML_CHARS_MIN)


def read_addresses(urls: Iterable[str]) -> list[Address]:
    """Each URL once, in the given order; those that nobody understands are there, too."""
    addresses, seen = list[Address](), Counter[str]()
    for number, url in enumerate(dict.fromkeys(urls), start=1):
        service = Apprise.instantiate(url, asset=ASSET)
        place = f"URL {number}" if service is None else _place(service)
        seen[place] += 1
        unique = place if seen[place] == 1 else f"{place} ({seen[place]})"
        addresses.append(Address(place=unique, fingerprint=_fingerprint(url), service=service))
    return addresses


def _place(service: Any) -> str:
    """Scheme and host. Of many services the part in the host's place is a token: then the scheme alone."""
    has_host = "host" in service.template_tokens and service.host
    return f"{service.schema}://{service.host if has_host else ''}"


def _fingerprint(url: str) -> str:
    """Slow on purpose: it is stored, and a weak password in a URL must not be found by trying."""
    return hashlib.scrypt(url.encode(), salt=b"oculard notice", n=2**14, r=8, p=1, dklen=12).hex()
