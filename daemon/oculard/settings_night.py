"""The settings of what happens while nobody watches: night, back-fill, folders, housekeeping, alarms, notices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from oculard.settings_shapes import AeTitle, Clocktime, Port, Section, Slug, check_time_zone
from oculard.settings_tls import CallTls

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Quota = Annotated[int, Field(ge=0)]
Modality = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]  # PS3.5 6.2, CS


class Night(Section):
    """The window for work that may wait, and the report about it in the morning."""

    days: list[Day] = Field(
        list(DAYS), min_length=1, description="Days on which a night begins: mon tue wed thu fri sat sun."
    )
    start: Clocktime = Field("20:00", description="Local time.")
    end: Clocktime = Field("06:00", description="Local time; may be on the next day. Equal to start: the whole day.")
    time_zone: str = Field("", description="IANA name; '' means that of [site].")
    quotas: dict[Slug, Quota] = Field(
        {}, description="By family: at most so many of its jobs start in a night; the rest waits."
    )
    job_s_first: float = Field(
        60.0, gt=0, description="Expected duration of a job while none of its family has been measured here."
    )
    backfill_from: str = Field(
        "", description="An archive: each night the studies of that day and the day before are fetched from it."
    )
    backfill_modalities: list[Modality] = Field(
        ["OP", "OPT", "OPTENF", "OPTBSV"],
        description="Studies with one of these are fetched, by night and by `oculard backfill`; [] means all.",
    )
    report_language: Literal["en", "ja"] = Field("en", description="Of the morning report: en | ja.")
    report_patients: bool = Field(
        False, description="Whether the morning report shows patient IDs and accession numbers."
    )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_time_zone(name) if name else name


class Archive(Section):
    """Where back-fill fetches studies from, usually the PACS."""

    name: Slug = Field(description="What this archive is called here.")
    how: Literal["move", "get", "dicomweb"] = Field("move", description="C-MOVE to us | C-GET | QIDO-RS and WADO-RS.")
    ae_title: AeTitle = Field("PACS", description="Its AE title.")
    host: str = Field("", description="Host name or address; not for dicomweb.")
    port: Port = Field(104, description="Its DICOM port; not for dicomweb.")
    url: str = Field("", description="dicomweb: the service's root, as in https://pacs.example/dicom-web.")
    user: str = Field("", description="dicomweb: user name, '' for none.")
    password_file: Path | None = Field(None, description="dicomweb: a file that holds the password.")
    associations: int = Field(1, ge=1, le=16, description="Studies that are fetched at once.")
    studies_per_min: float = Field(
        30.0, gt=0, description="At most so many studies a minute, by each fetcher; `oculard run` has one."
    )
    matches_max: int = Field(2000, ge=10, le=100_000, description="A query with more matches is cancelled and split.")
    find_s: float = Field(60.0, gt=0, description="Time for the next match of a query.")
    study_s: float = Field(1800.0, gt=0, description="Time for one study to come as a whole.")
    attempts_max: int = Field(5, ge=1, le=100, description="Tries for a study that does not come completely.")
    tls: CallTls | None = Field(
        None, description="Called by TLS, as `tls` of [[peers]]; for dicomweb only with authorities of its own, or {}."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.how == "dicomweb":
            if not self.url.startswith(("http://", "https://")):
                raise ValueError(f"archive `{self.name}`: url is needed for dicomweb, http:// or https://")
            if self.user and not self.url.startswith("https://"):
                raise ValueError(f"archive `{self.name}`: a password needs https://")
            if self.tls is not None and (self.tls.certificates or not self.url.startswith("https://")):
                raise ValueError(f"archive `{self.name}`: for dicomweb tls needs https://, and knows no certificates")
        elif not self.host:
            raise ValueError(f"archive `{self.name}`: host is needed for {self.how}")
        return self


class Folder(Section):
    """A watched folder: finished files in it are taken into custody by the same way as C-STORE."""

    name: Slug = Field(description="What this folder is called here and in [[plan]] as a sender.")
    path: Path = Field(description="Absolute path; subfolders are watched too.")
    then: Literal["leave", "move"] = Field("leave", description="What becomes of the originals: leave | move.")
    move_to: Path | None = Field(None, description="move: where what was taken goes, in the same file system.")
    quiet_s: float = Field(30.0, ge=1, description="A file that has not changed for so long is finished.")
    every_s: float = Field(15.0, ge=1, description="Seconds between two looks.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.then == "move") != (self.move_to is not None):
            raise ValueError(f"folder `{self.name}`: move_to belongs to then = 'move', and only to it")
        for key, path in (("path", self.path), ("move_to", self.move_to)):
            if path is not None and (not path.is_absolute() or ".." in path.parts):
                raise ValueError(f"folder `{self.name}`: {key} must be absolute, without `..`")
        return self


def check_apart(folders: Sequence[Folder], store: Path) -> None:
    """Raise ValueError where one folder lies in another: what was moved or kept would be taken again."""
    places = [("[store] folder", store.absolute()), *(("path", folder.path) for folder in folders)]
    places += [("move_to", folder.move_to) for folder in folders if folder.move_to is not None]
    for (key, one), (other_key, other) in combinations(places, 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise ValueError(f"[[folders]]: {other_key} {other} and {key} {one} must lie apart")


class Retention(Section):
    """What may be deleted: only what is done, delivered and committed, and only where a number says so."""

    instances_days: float = Field(
        0, ge=0, description="Days that images stay after all their reports are delivered; 0 keeps them for ever."
    )
    reports_days: float = Field(
        0,
        ge=0,
        description="Days that report files stay when every object of theirs is at a peer; 0 keeps them for ever.",
    )
    watched_days: float = Field(365, ge=1, description="Days that a vanished file of a watched folder is remembered.")


class Limits(Section):
    """When somebody should look: each is an alarm with its entry in the runbook."""

    pacs_silent_h: float = Field(4, gt=0, description="A peer took nothing for so long while reports wait for it.")
    queue_h: float = Field(24, gt=0, description="A job that may run has waited for so long.")
    failures_percent: float = Field(20, gt=0, le=100, description="So many of the last day's jobs failed ...")
    failures_least: int = Field(5, ge=1, description="... and at least so many.")
    disk_days: float = Field(14, ge=0, description="The disk reaches its mark within so many days.")
    clock_skew_s: float = Field(60, gt=0, description="The clock differs so much from the database's or went back.")
    certificates: list[Path] = Field([], description="PEM files whose certificates are watched.")
    certificate_days: float = Field(30, ge=0, description="A certificate ends within so many days.")


class Notify(Section):
    """Who is told by e-mail, chat or webhook (Apprise URLs, which hold secrets)."""

    urls: list[SecretStr] = Field([], description="Only from OCULARD_NOTIFY__URLS.")
    urls_file: Path | None = Field(
        None, description="A file with one Apprise URL a line, as in mailtos://user:pass@host."
    )
    alarms: bool = Field(True, description="Tell when an alarm is raised and when it is cleared.")
    night: bool = Field(True, description="Send the morning report when the night is over.")
