"""Writes small DICOM series for the tests, as a scanner would: one file a slice, with pydicom, none of our own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = UID("1.2.840.10008.5.1.4.1.1.2")
MR = UID("1.2.840.10008.5.1.4.1.1.4")
SERIES = "1.2.826.0.1.3680043.8.498.11111111"
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.77777777"


def slice_dataset(pixels: np.ndarray, position, *, number: int = 1, series: str = SERIES, **attributes) -> Dataset:
    """One slice; `pixels` (rows, columns), any attribute can be set or, with None, taken away."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, "1.2.826.0.1.3680043.8.498.5"
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 4, number
    dataset.PatientID, dataset.PatientName = "Secret^Id", "Secret^Name"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [round(float(p), 6) for p in position]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 3.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1000
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def volume_datasets(array: np.ndarray, *, first=(-100.0, -120.0, 40.0), step=(0.0, 0.0, 3.0), **attributes) -> list[Dataset]:
    """A series of `array` (slices, rows, columns); slice k lies at first + k * step."""
    places = [np.array(first) + k * np.array(step) for k in range(len(array))]
    return [slice_dataset(p, place, number=k + 1, **attributes) for k, (p, place) in enumerate(zip(array, places, strict=True))]


def save(datasets, folder: Path, *, names=None) -> Path:
    """Writes them as 001.dcm, 002.dcm, ... or under the given names."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, dataset in enumerate(datasets):
        dataset.save_as(folder / (names[k] if names else f"{k + 1:03d}.dcm"), enforce_file_format=True)
    return folder


def noise(slices: int = 5, rows: int = 6, columns: int = 8, *, seed: int = 0) -> np.ndarray:
    """(slices, rows, columns) of different 12-bit numbers."""
    return np.random.default_rng(seed).permutation(4096)[: slices * rows * columns].reshape(slices, rows, columns)
