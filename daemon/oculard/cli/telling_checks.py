"""The doctor's look at who is told, and at the certificates that are watched."""

from __future__ import annotations

from collections.abc import Iterator

from oculard.cli.check import FINE, WARNING, WRONG, Check, wrong
from oculard.cli.context import Context
from oculard.errors import OculardError


def addresses(found: Context) -> Iterator[Check]:
    """Whether the URLs of [notify] are understood; nothing is sent, and only scheme and host are shown."""
    from oculard.upkeep.addresses import read_addresses

    try:
        read = read_addresses(found.settings.notify_urls)
    except OculardError as why:
        yield wrong("notices", why)
        return
    for address in read:
        if address.is_understood:
            yield Check(what="notices", state=FINE, found=f"to {address.place}; `oculard notify` sends a test")
        else:
            hint = "[notify] urls_file: one Apprise URL a line, as in mailtos://user:pass@host; is all of it there?"
            yield Check(what="notices", state=WRONG, found=f"{address.place} is not understood", hint=hint)


def certificates(found: Context) -> Iterator[Check]:
    """Whether the certificates of TLS and of [alarms] can be read, and how long they last."""
    from oculard.tls import TlsUnusable, all_files, check, is_private
    from oculard.upkeep.certificates import Unreadable, ends_at, watched

    for files in all_files(found.settings):
        try:
            check(files)
        except TlsUnusable as why:
            yield wrong("tls", why)
            continue
        open_to = "" if files.key is None or is_private(files.key) else str(files.key)
        hint = "only the daemon's user should be able to read the key: chmod 600" if open_to else ""
        state = WARNING if open_to else FINE
        yield Check(what="tls", state=state, found=f"{files.all[0]} and its authorities can be used", hint=hint)
    for path in watched(found.settings):
        try:
            left = ends_at(path) - found.app.clock.now()
        except Unreadable as why:
            yield wrong("certificate", why)
            continue
        ends_soon = left.days < found.settings.alarms.certificate_days
        state, hint = (WARNING, "put the new certificate into the same file") if ends_soon else (FINE, "")
        yield Check(what="certificate", state=state, found=f"{path}: {left.days} days left", hint=hint)
