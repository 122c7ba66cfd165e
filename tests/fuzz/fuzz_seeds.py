"""The whole files that the fuzzer damages: small made-up ones of every form, and real ones where they are at hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "io"))

from made_labels import rtstruct, segmentation
from oracle_series import Pixels, classic, enhanced, save, stack
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SERIES = "1.2.826.0.1.3680043.8.498.11111111"
FORMS = {
    "explicit": Pixels(),
    "implicit": Pixels(syntax=ImplicitVRLittleEndian, rubbish=True),
    "big_endian": Pixels(syntax=ExplicitVRBigEndian, stored=16, signed=True),
    "deflated": Pixels(syntax=DeflatedExplicitVRLittleEndian),
    "bytes": Pixels(allocated=8, stored=8),
    "rle": Pixels(syntax=RLELossless),
    "jpegls": Pixels(syntax=JPEGLSLossless),
    "jpeg2000": Pixels(syntax=JPEG2000Lossless, signed=True),
}
DCMTK = {"jpeg_lossless": ("dcmcjpeg", "+e1"), "jpeg_14": ("dcmcjpeg", "+el"), "jpeg_extended": ("dcmcjpeg", "+ee")}
REAL = (
    "dicom/mr_jpeg2000/001.dcm",
    "dicom/mr_jpegls/000.dcm",
    "dicom/mr_jpeg_lossless/001.dcm",
    "dicom/mr_rle/001.dcm",
    "dicom/ct_deflated/001.dcm",
    "dicom/ct_big_endian/001.dcm",
    "dicom/ct_axial/001.dcm",
    "dicom/enhanced_siemens/001.dcm",
)
MOST_REAL_BYTES = 60_000
ROWS, COLUMNS = 33, 34  # the JPEG 2000 encoder wants 32 at least
BROKEN = 2  # which slice of four is damaged where the others lie beside it


def write_seeds(root: Path, shared: Path | None) -> None:
    """alone/NAME: one file, read by itself; among/NAME/: four slices, of which one is damaged; labels/NAME: for image/."""
    rng = np.random.default_rng(0)
    (root / "alone").mkdir(parents=True)
    for name, form in FORMS.items():
        planes = _planes(rng, form, slope=1.0 if name != "bytes" else 0.731)
        for k, plane in enumerate(planes):
            modality = "PT" if name == "bytes" else "CT"
            dataset = classic(
                plane, number=k + 1, uid=f"{SERIES}.{k}", series=SERIES, modality=modality, pixels=form, SliceThickness=3
            )
            save(dataset, root / "among" / name / f"{k}")
        shutil.copy(root / "among" / name / "0", root / "alone" / name)
    for name, form in (
        ("enhanced", FORMS["explicit"]),
        ("enhanced_rle", FORMS["rle"]),
        ("enhanced_deflated", FORMS["deflated"]),
    ):
        shared_groups = frozenset(["orientation", "measures"])
        planes = _planes(rng, form, slope=2.5, shape=(5, ROWS // 3, COLUMNS // 3))
        dataset = enhanced(planes, uid=SERIES, series=SERIES, modality="MR", pixels=form, shared=shared_groups)
        save(dataset, root / "alone" / name)
    for name, (program, option) in DCMTK.items():
        if shutil.which(program):
            packed = root / "alone" / name
            subprocess.run([program, option, str(root / "alone" / "explicit"), str(packed)], check=True, capture_output=True)
    for real in REAL:
        path = shared / real if shared else None
        if path and path.is_file() and path.stat().st_size <= MOST_REAL_BYTES:
            shutil.copy(path, root / "alone" / f"real_{path.parent.name}")
    _write_labels(root)


def _planes(rng: np.random.Generator, form: Pixels, *, slope: float, shape: tuple[int, int, int] = (4, ROWS, COLUMNS)) -> list:
    stored = rng.integers(*form.limits, shape)
    stored[:, : shape[1] // 2] = stored[:, :1, :1]  # half of it is flat: the packed forms have runs
    axes = np.array([[0.8, 0.0], [0.6, 0.0], [0.0, -1.0]])
    normal = np.cross(axes[:, 0], axes[:, 1])
    return stack(
        stored, first=(-10.5, 20.25, 5), axes=axes, spacing=(0.75, 0.5), step=normal * 3, slope=slope, intercept=-1000.0
    )


def _write_labels(root: Path) -> None:
    """An image of 5 slices of 6 rows and 8 columns with an RTSTRUCT and three SEG of it."""
    rng = np.random.default_rng(1)
    axes = np.eye(3)[:, :2]
    planes = stack(rng.integers(0, 4096, (5, 6, 8)), first=(0, 0, 40), axes=axes, spacing=(0.5, 0.75), step=(0, 0, 3))
    sources = []
    for k, plane in enumerate(planes):
        dataset = classic(plane, number=k, uid=f"{SERIES}.{k}", series=SERIES, modality="CT", pixels=FORMS["explicit"])
        save(dataset, root / "image" / f"{k}")
        dataset.SliceThickness = 3
        sources.append(dataset)
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    contours = {
        name: [[v for c, r in corners for v in (0.75 * (low + c * side), 0.5 * (low + r * side), z)] for z in slices]
        for name, low, side, slices in (("tumour", 0.6, 2.8, (40, 43)), ("node", 2.7, 1.6, (46, 49, 52)))
    }
    place = "1.2.826.0.1.3680043.8.498.77"
    rtstruct(root / "labels" / "rtstruct", contours, series=SERIES, frame_of_reference=place, uid=f"{SERIES}.8")
    mask = np.zeros((5, 6, 8), dtype=np.uint8)
    mask[1, 2, 3:6], mask[3, 0:4, 1:7] = 1, 2
    for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
        path = root / "labels" / f"seg_{kind.lower()}"
        segmentation(path, sources, mask, ("tumour", "node"), kind=kind, uid=f"{SERIES}.9")
