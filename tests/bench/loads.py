"""What is sent: OCT volumes of 58 MB, photographs of 2.4 MB, small photographs of 60 KB. Pixels are noise.

A study is what a patient's visit gives: a volume of each eye, or two photographs of each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
FRAMES, ROWS, COLUMNS = 128, 885, 512
BYTES = {"photographs, 2.4 MB": 2_400_000, "small, 60 KB": 60_000}
VOLUMES = "OCT volumes, 58 MB"
OF_A_STUDY = {VOLUMES: 2, "photographs, 2.4 MB": 4, "small, 60 KB": 4}


def write_load(name: str, folder: Path, count: int) -> int:
    """Write so many files of a kind; gives their bytes together."""
    noise = np.random.default_rng(7)
    folder.mkdir(parents=True)
    for number in range(count):
        ds = _volume(noise) if name == VOLUMES else _photograph(noise, BYTES[name])
        study, of_it = divmod(number, OF_A_STUDY[name])
        if not of_it:
            study_uid, series_uid = generate_uid(), generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
        ds.PatientID, ds.InstanceNumber = f"B{study:06d}", of_it + 1
        ds.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return sum(path.stat().st_size for path in folder.iterdir())


def _photograph(noise: np.random.Generator, size_bytes: int) -> Dataset:
    ds = _instance(PHOTOGRAPH, JPEGBaseline8Bit, "OP")
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1934, 2576, 3, "YBR_FULL_422"
    ds.PlanarConfiguration = 0
    ds.PixelData = encapsulate([b"\xff\xd8" + noise.bytes(size_bytes) + b"\xff\xd9"])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


def _volume(noise: np.random.Generator) -> Dataset:
    ds = _instance(TOMOGRAPHY, ExplicitVRLittleEndian, "OPT")
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    ds.NumberOfFrames = FRAMES
    ds.PerFrameFunctionalGroupsSequence = [_frame(number) for number in range(FRAMES)]
    ds.PixelData = noise.bytes(FRAMES * ROWS * COLUMNS)
    ds["PixelData"].VR = "OB"
    return ds


def _frame(number: int) -> Dataset:
    group, content, position = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", number + 1, [1, number + 1]
    position.ImagePositionPatient = ["0", "0", f"{0.047 * number:.4f}"]
    group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
    return group


def _instance(sop_class: str, syntax: str, modality: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), generate_uid()
    ds.SpecificCharacterSet, ds.Modality, ds.ImageLaterality = "ISO_IR 192", modality, "R"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    ds.AcquisitionDateTime, ds.Manufacturer, ds.ManufacturerModelName = "20260101080000", "Bench", "Bench"
    ds.PatientName, ds.AccessionNumber = "Bench^Bench", "B1"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    return ds
