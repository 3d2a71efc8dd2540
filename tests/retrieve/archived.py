"""Small studies for archives, and how an archive of the configuration is opened in a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from devices import Site, photograph
from oculard.intake.role import folder_import
from oculard.retrieve.archive import Archive, Take
from oculard.retrieve.archives import archive_of
from oculard.settings_night import Archive as Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study: series UID -> files."""

    uid: str
    day: str
    series: dict[str, list[bytes]]

    @property
    def files(self) -> list[bytes]:
        """Every file."""
        return [file for files in self.series.values() for file in files]

    @property
    def counts(self) -> dict[str, int]:
        """As an archive should count them."""
        return {uid: len(files) for uid, files in self.series.items()}


def study(number: int, day: str = "20261120", *, series: Sequence[int] = (2, 1), **values: Any) -> Study:
    """A study of some series with so many photographs each."""
    uid = f"1.2.826.0.1.3680043.10.1.{number}"
    made = {
        f"{uid}.{index}": [
            part10(
                photograph(
                    StudyInstanceUID=uid,
                    SeriesInstanceUID=f"{uid}.{index}",
                    SOPInstanceUID=f"{uid}.{index}.{image}",
                    StudyDate=day,
                    StudyTime="101500",
                    PatientID=f"P{number}",
                    ImageLaterality="RL"[index % 2],
                    **values,
                )
            )
            for image in range(1, count + 1)
        ]
        for index, count in enumerate(series, 1)
    }
    return Study(uid=uid, day=day, series=made)


def part10(ds: Dataset) -> bytes:
    """A data set as a file."""
    buffer, meta = BytesIO(), FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def opened(here: Site, **entry: Any) -> Archive:
    """The client of an archive."""
    values = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "find_s": 20.0, "study_s": 60.0}
    settings = here.settings.model_copy(update={"intake": here.settings.intake.model_copy(update={"port": here.port})})
    return archive_of(Entry(**(values | entry)), settings, here.vault)


def taking(here: Site) -> Take:
    """The door into custody that the daemon passes in."""
    door = folder_import(here.settings, here.instances, here.vault, sender="pacs")

    def take(path: Path) -> None:
        door.take(path)

    return take
