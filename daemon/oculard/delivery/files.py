"""DICOM files sent as they are, for `oculard send` and the demonstration, on as few associations as they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from oculard.delivery.part10 import Meta, NotPart10, read_meta
from oculard.delivery.scu import CONTEXTS_MAX, Context, PeerAssociation, Target
from oculard.delivery.statuses import PacsBusy, PacsRefused, PacsUnreachable, Trouble, troubled
from oculard.errors import OculardError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one file. `reason` is "stored" or a warning's or an error's slug."""

    path: Path
    sop_instance_uid: str = ""
    is_taken: bool
    reason: str
    hint: str = ""


def send_files(target: Target, paths: Iterable[Path]) -> Iterator[Sent]:
    """Send the files in their own SOP class and transfer syntax, bit for bit; gives each one's fate as it is known.

    Never raises for what the peer does: a lost association is the fate of what it did not carry any more.
    """
    files = []
    for path in paths:
        try:
            files.append((path, read_meta(path)))
        except NotPart10 as why:
            yield _failed(path, None, why)
        except OSError:
            yield Sent(path=path, is_taken=False, reason="file-unreadable", hint="may this user read the file?")
    for group in _groups(files):
        yield from _send_group(target, group)


def _groups(files: Sequence[tuple[Path, Meta]]) -> list[list[tuple[Path, Meta]]]:
    """The files in groups that need no more contexts than one association may propose."""
    numbers = {context: number for number, context in enumerate(sorted({_context(meta) for _, meta in files}))}

    def place(file: tuple[Path, Meta]) -> int:
        return numbers[_context(file[1])] // CONTEXTS_MAX

    return [list(group) for _, group in groupby(sorted(files, key=place), key=place)]


def _send_group(target: Target, group: Sequence[tuple[Path, Meta]]) -> Iterator[Sent]:
    done = 0
    try:
        with PeerAssociation(target, [_context(meta) for _, meta in group]) as association:
            for path, meta in group:
                sent = _send_one(association, path, meta)
                done += 1
                yield sent
    except (PacsBusy, PacsRefused, PacsUnreachable) as why:
        for path, meta in group[done:]:
            yield _failed(path, meta, why)


def _send_one(association: PeerAssociation, path: Path, meta: Meta) -> Sent:
    """Send one file. Raises PacsUnreachable: the association is over."""
    if _context(meta) not in association.accepted:
        return _failed(path, meta, troubled(association.target.name, Trouble.NO_CONTEXT))
    try:
        verdict = association.store(path, meta)
    except (PacsBusy, PacsRefused) as why:
        return _failed(path, meta, why)
    uid = meta.sop_instance_uid
    return Sent(path=path, sop_instance_uid=uid, is_taken=True, reason=verdict.reason, hint=verdict.hint)


def _failed(path: Path, meta: Meta | None, why: OculardError) -> Sent:
    uid = "" if meta is None else meta.sop_instance_uid
    return Sent(path=path, sop_instance_uid=uid, is_taken=False, reason=why.reason, hint=why.hint)


def _context(meta: Meta) -> Context:
    return meta.sop_class_uid, meta.transfer_syntax_uid
