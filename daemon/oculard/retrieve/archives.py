"""The archives of the configuration, each as what it speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oculard import settings_night
from oculard.retrieve.archive import Archive, Days, Found, Retrieved, Take
from oculard.retrieve.association import Caller, Line
from oculard.retrieve.dicomweb import DicomWeb
from oculard.retrieve.find import Finder
from oculard.retrieve.get import Getter
from oculard.retrieve.move import Mover
from oculard.retrieve.web import Web
from oculard.settings import Intake, Settings, read_secret
from oculard.store.spool import Spooler
from oculard.store.vault import GIB, Vault
from oculard.tls import CallingTls, Credentials, call_files, calling_web

STUDY_TIMES = 50  # a study may be so many times as large as an instance


class Fetching(Protocol):
    """The way in which a study comes."""

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimse:
    """An archive that is asked by C-FIND and gives by C-MOVE or C-GET; as `Archive` says."""

    caller: Caller
    finder: Finder
    fetching: Fetching
    remarks: Counter[str] = field(default_factory=Counter)

    def find_studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """As `Archive.find_studies`."""
        return self.finder.studies(days, modalities)

    def count_series(self, study_instance_uid: str) -> dict[str, int]:
        """As `Archive.count_series`."""
        return self.finder.series(study_instance_uid)

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`."""
        return self.fetching.retrieve(study_instance_uid, take)

    def close(self) -> None:
        """As `Archive.close`."""
        self.caller.close()


def archive_of(entry: settings_night.Archive, settings: Settings, vault: Vault) -> Archive:
    """One archive of the configuration. Raises Misconfigured where its password cannot be read."""
    spooler = Spooler(vault, settings.store)
    return _web(entry, settings, spooler) if entry.how == "dicomweb" else _dimse(entry, settings, spooler)


def _dimse(entry: settings_night.Archive, settings: Settings, spooler: Spooler) -> Dimse:
    caller, remarks = Caller(spooler), Counter[str]()
    finder = Finder(
        line=_line(entry, settings, entry.find_s), caller=caller, matches_max=entry.matches_max, remarks=remarks
    )
    line = _line(entry, settings, entry.study_s)  # some archives say nothing until a study has come
    fetching: Fetching = (
        Mover(line=line, caller=caller, study_s=entry.study_s, port=_our_port(settings.intake))
        if entry.how == "move"
        else Getter(line=line, caller=caller, study_s=entry.study_s, remarks=remarks)
    )
    return Dimse(caller=caller, finder=finder, fetching=fetching, remarks=remarks)


def _our_port(intake: Intake) -> int:
    """The port that an archive is told to send to."""
    return intake.port if intake.tls.plain else intake.tls.port


def _web(entry: settings_night.Archive, settings: Settings, spooler: Spooler) -> DicomWeb:
    secret = "" if entry.password_file is None else read_secret(entry.password_file, "password_file")
    web = Web(
        name=entry.name,
        url=entry.url.rstrip("/"),
        auth=(entry.user, secret) if entry.user else None,
        connect_s=settings.delivery.connect_s,
        answer_s=entry.find_s,
        credentials=None if entry.tls is None else Credentials(call_files(entry.tls, settings.intake.tls), calling_web),
    )
    return DicomWeb(
        web=web,
        spooler=spooler,
        answer_s=entry.find_s,
        study_s=entry.study_s,
        matches_max=entry.matches_max,
        study_bytes_max=int(settings.store.instance_max_gib * STUDY_TIMES * GIB),
    )


def _line(entry: settings_night.Archive, settings: Settings, answer_s: float) -> Line:
    return Line(
        name=entry.name,
        host=entry.host,
        port=entry.port,
        called_ae=entry.ae_title,
        calling_ae=settings.intake.ae_title,
        connect_s=settings.delivery.connect_s,
        answer_s=answer_s,
        tls=CallingTls.of(entry.tls, settings),
    )
