"""The archives of the configuration, each as what it speaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from oculard import settings_night
from oculard.retrieve.archive import Archive, Days, Found, Retrieved, Take
from oculard.retrieve.association import Line
from oculard.retrieve.dicomweb import DicomWeb
from oculard.retrieve.find import Finder
from oculard.retrieve.get import Getter
from oculard.retrieve.move import Mover
from oculard.settings import Settings, read_secret

STUDY_TIMES = 50  # a study may be so many times as large as an instance


class Fetching(Protocol):
    """The way in which a study comes."""

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimse:
    """An archive that is asked by C-FIND and gives by C-MOVE or C-GET; as `Archive` says."""

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
        """As `Archive.close`: every question has had an association of its own."""


def archive_of(entry: settings_night.Archive, settings: Settings, spool: Path) -> Archive:
    """One archive of the configuration. Raises Misconfigured where its password cannot be read."""
    remarks: Counter[str] = Counter()
    if entry.how == "dicomweb":
        secret = "" if entry.password_file is None else read_secret(entry.password_file, "password_file")
        return DicomWeb(
            name=entry.name,
            url=entry.url.rstrip("/"),
            spool=spool,
            auth=(entry.user, secret) if entry.user else None,
            answer_s=entry.find_s,
            study_s=entry.study_s,
            matches_max=entry.matches_max,
            study_bytes_max=int(settings.store.instance_max_gib * STUDY_TIMES * (1 << 30)),
            remarks=remarks,
        )
    finding = _line(entry, settings, entry.find_s)
    fetching = _line(entry, settings, entry.study_s)  # some archives say nothing until a study has come
    here = f"AE title {settings.intake.ae_title}, this host, port {settings.intake.port}"
    return Dimse(
        finder=Finder(line=finding, matches_max=entry.matches_max, remarks=remarks),
        fetching=(
            Mover(line=fetching, study_s=entry.study_s, here=here)
            if entry.how == "move"
            else Getter(line=fetching, study_s=entry.study_s, here=here, remarks=remarks)
        ),
        remarks=remarks,
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
    )
