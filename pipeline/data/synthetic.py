"""Write a made-up CT data set as real DICOM series with masks: for the demo and for tests. Holds nobody's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import UserError
from ..io.nifti import write_nifti
from ..io.paths import occupied, written_aside
from ..io.volume import Volume
from ..labels import LabelTable, label_table
from ..progress import bar
from .phantom import make_phantom

if TYPE_CHECKING:
    import pydicom

PIXELS = 128
FINE = 2  # each pixel is the mean of FINE x FINE points in each of SHEETS sheets of its slice: partial volumes as in a scanner
SHEETS = 3
INTERCEPT_HU = -1024
LABELS = {"organ": 1, "lesion": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSet:
    """Where a made-up data set lies."""

    folder: Path
    training: Path  # patient_NN/series/*.dcm with patient_NN/mask.nii.gz
    held_out: Path  # patient_NN/series/*.dcm
    held_out_truth: Path  # patient_NN.nii.gz
    table: LabelTable
    training_patients: tuple[str, ...]
    held_out_patients: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Series:
    """Geometry and values of one series; slices run along X x Y."""

    number: int
    seed: int
    hu: np.ndarray  # (slices, rows, columns) int16
    labels: np.ndarray  # (slices, rows, columns) uint8
    lps_from_voxel: np.ndarray  # 4x4, (column, row, slice) to mm
    head_first: bool
    thickness_mm: float


def write_synthetic_ct(folder: Path | str, *, patients: int = 12, held_out: int = 3, seed: int = 0) -> SyntheticSet:
    """Write the data set.

    Args:
        folder: made here; must not exist or be empty.
        patients: how many in all.
        held_out: how many of them, the last, lie apart with their truth elsewhere.
        seed: the same seed gives the same series to the byte and the same masks to the voxel, on every machine.
    Raises: UserError when the folder holds something already, or fewer than one patient would be left to train on.
    """
    folder = Path(folder)
    if not 0 <= held_out < patients:
        raise UserError(f"{held_out} of {patients} patients held out leaves none to train on")
    if occupied(folder):
        raise UserError("is not empty", where=folder, next="Name a folder that does not exist yet.")
    names = [f"patient_{number:02d}" for number in range(1, patients + 1)]
    with written_aside(folder) as aside:
        for number, name in enumerate(bar(names, title="writing made-up CT series", unit="patients"), start=1):
            series = _make_series(number, seed)
            if number <= patients - held_out:
                _write_series(series, aside / "training" / name / "series")
                _write_mask(series, aside / "training" / name / "mask.nii.gz")
            else:
                _write_series(series, aside / "held_out" / name / "series")
                _write_mask(series, aside / "held_out_truth" / f"{name}.nii.gz")
    return SyntheticSet(
        folder=folder,
        training=folder / "training",
        held_out=folder / "held_out",
        held_out_truth=folder / "held_out_truth",
        table=label_table(LABELS),
        training_patients=tuple(names[: patients - held_out]),
        held_out_patients=tuple(names[patients - held_out :]),
    )


def _make_series(number: int, seed: int) -> _Series:
    random = np.random.default_rng([seed, number])
    pixel_mm = round(float(random.uniform(0.9, 1.4)), 3)
    step_mm = round(float(random.uniform(3, 5)) * 4) / 4
    slices = int(random.integers(24, 33))
    tilt_deg = float(random.uniform(4, 9)) if number % 5 == 3 else 0.0  # one in five is oblique
    lps_from_voxel = _placed(pixel_mm, step_mm, slices, tilt_deg, random)
    middle_mm = (lps_from_voxel @ [(PIXELS - 1) / 2, (PIXELS - 1) / 2, (slices - 1) / 2, 1])[:3]
    phantom = make_phantom(random, width_mm=PIXELS * pixel_mm, height_mm=slices * step_mm)
    hu = np.empty((slices, PIXELS, PIXELS))
    labels = np.empty((slices, PIXELS, PIXELS), dtype=np.uint8)
    for k in range(slices):
        rows, columns = _places_mm(lps_from_voxel, k)
        values, classes = phantom.at(rows - middle_mm[:, None], columns)
        hu[k] = _pixel_means(values)
        shares = [_pixel_means((classes == label).astype(np.float32)) for label in (0, *LABELS.values())]
        labels[k] = np.argmax(shares, axis=0)
    return _Series(
        number=number,
        seed=seed,
        hu=_as_scanned(hu, random),
        labels=labels,
        lps_from_voxel=lps_from_voxel,
        head_first=number % 4 != 2,
        thickness_mm=step_mm,
    )


def _placed(pixel_mm: float, step_mm: float, slices: int, tilt_deg: float, random: np.random.Generator) -> np.ndarray:
    """4x4, voxel (column, row, slice) to mm: axial, turned about the left-right axis by the tilt, somewhere in the room."""
    tilt = np.deg2rad(tilt_deg)
    along_row, down = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    upward = np.cross(along_row, down)
    lps_from_voxel = np.eye(4)
    lps_from_voxel[:3, :3] = np.column_stack([along_row * pixel_mm, down * pixel_mm, upward * step_mm])
    room_mm = np.round(random.uniform(-30, 30, 3), 1) - (0, 120, 400)
    lps_from_voxel[:3, 3] = room_mm - lps_from_voxel[:3, :3] @ [PIXELS / 2, PIXELS / 2, slices / 2]
    return np.round(lps_from_voxel, 9)


def _places_mm(lps_from_voxel: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of one slice lie: (3, SHEETS * PIXELS * FINE) of its rows, and (3, PIXELS * FINE) to add along them."""
    fine = (np.arange(PIXELS * FINE) + 0.5) / FINE - 0.5
    sheets = k + (np.arange(SHEETS) + 0.5) / SHEETS - 0.5
    along_columns, along_rows, along_slices = (lps_from_voxel[:3, axis][:, None] for axis in range(3))
    rows = (along_slices * sheets)[:, :, None] + (along_rows * fine)[:, None]  # (3, sheets, rows)
    return rows.reshape(3, -1) + lps_from_voxel[:3, 3:], along_columns * fine


def _pixel_means(values: np.ndarray) -> np.ndarray:
    """(rows, columns) from the points of a slice."""
    means: np.ndarray = values.reshape(SHEETS, PIXELS, FINE, PIXELS, FINE).mean(axis=(0, 2, 4), dtype=np.float64)
    return means


def _as_scanned(hu: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Blur of the scanner, uneven tissue, noise of 15 to 20 HU."""
    blurred = gaussian_filter(hu, (0, 0.6, 0.6))
    texture = gaussian_filter(random.standard_normal(hu.shape), (1.5, 5, 5))
    noise = gaussian_filter(random.standard_normal(hu.shape), (0, 0.6, 0.6))
    blurred += np.where(blurred > -500, texture * (7 / texture.std()), 0)
    blurred += noise * (random.uniform(15, 20) / noise.std())
    return np.clip(np.rint(blurred), INTERCEPT_HU, INTERCEPT_HU + 4095).astype(np.int16)


def _write_mask(series: _Series, path: Path) -> None:
    """The labels on the series' own grid, (columns, rows, slices).

    The turn from LPS to RAS is done here once more, on purpose: a demo that used the reader's own turn could not show it wrong.
    """
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.lps_from_voxel
    write_nifti(Volume(array=np.ascontiguousarray(series.labels.transpose(2, 1, 0)), affine=affine), path)


def _write_series(series: _Series, folder: Path) -> None:
    """One file a slice; file names in no order, Instance Numbers from head to foot or from foot to head."""
    folder.mkdir(parents=True)
    slices = len(series.hu)
    random = np.random.default_rng([series.seed, series.number, 1])
    names = random.permutation(slices)
    for k in range(slices):
        instance = slices - k if series.head_first else k + 1
        dataset = _ct_image(series, k, instance)
        dataset.save_as(folder / f"IM{names[k]:04d}.dcm", enforce_file_format=True)


def _ct_image(series: _Series, k: int, instance: int) -> pydicom.Dataset:
    """One slice as CT Image Storage (PS3.3 A.3)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
    from pydicom.valuerep import format_number_as_ds

    axes = series.lps_from_voxel[:3, :3]
    pixel_mm = round(float(np.linalg.norm(axes[:, 0])), 6)
    position_mm = series.lps_from_voxel[:3, 3] + k * axes[:, 2]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(series, "image", k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = (
        _uid(series, "writer"),
        "UNET MADE UP",
    )  # not pydicom's version
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyDate = data.ContentDate = "20260101"
    data.StudyTime = data.ContentTime = "120000"
    data.AccessionNumber = data.ReferringPhysicianName = data.PatientName = data.PatientBirthDate = ""
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "CT", "unet", "made-up abdomen"
    data.StudyDescription = data.SeriesDescription = "made-up CT, nobody's data"
    data.PatientID, data.PatientSex = f"SYNTHETIC-{series.number:02d}", "O"
    data.BodyPartExamined, data.PatientPosition = "ABDOMEN", "HFS" if series.head_first else "FFS"
    data.SliceThickness, data.KVP = format_number_as_ds(series.thickness_mm), "120"
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(series, "study"), _uid(series, "series")
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = _uid(series, "frame of reference"), ""
    data.StudyID, data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = "1", series.number, 1, instance
    data.ImagePositionPatient = [format_number_as_ds(mm) for mm in np.round(position_mm, 6).tolist()]
    data.ImageOrientationPatient = [format_number_as_ds(c) for c in np.round(axes[:, :2].T / pixel_mm, 9).ravel().tolist()]
    data.PixelSpacing = [format_number_as_ds(pixel_mm)] * 2
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows = data.Columns = PIXELS
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth = "40", "400"
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(INTERCEPT_HU), "1", "HU"
    data.PixelData = (series.hu[k].astype(np.int32) - INTERCEPT_HU).astype("<u2").tobytes()
    return data


def _uid(series: _Series, *what: object) -> str:
    """A UID that depends on the seed and the place only."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["unet made-up CT", *(str(part) for part in (series.seed, series.number, *what))]))
