"""`unet convert`: a scan as NIfTI, as it was read; a mask on the grid of another image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..io.resample import Resampled
    from ..io.volume import Volume

DESCRIPTION = """Write the one volume of a DICOM folder, file or zip (or of a NIfTI file or picture) as NIfTI: values as read
(HU for CT), on the grid that a mask of it would have. A tilted CT is brought to a right-angled grid, each slice moved in its
own plane. With --like, put a NIfTI mask onto the grid of another image of the same anatomy, by the nearest voxel in mm."""
EXAMPLE = "unet convert STUDY_FOLDER ct.nii.gz --series 4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="DICOM folder, file or zip, NIfTI file, or picture")
    parser.add_argument("out", type=Path, metavar="OUT.nii.gz", help="file to write")
    parser.add_argument("--series", default="", metavar="S", help="series number, or the last 8 digits of its UID")
    parser.add_argument("--volume", default="", metavar="V", help="name or number of one volume of the series, as listed")
    parser.add_argument(
        "--accept-irregular", action="store_true", help="put a stack with holes or uneven distances on an even grid, and say so"
    )
    parser.add_argument("--pixel-size", type=float, metavar="MM", help="of pictures, which do not say it")
    parser.add_argument(
        "--like", type=Path, metavar="IMAGE", help="INPUT is a NIfTI mask: write it on the grid of this NIfTI or DICOM image"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.nii.gz where it exists")


def run(arguments: argparse.Namespace) -> int:
    from ..io.convert import convert_labels, convert_scan

    which = {name: getattr(arguments, name) for name in ("series", "volume", "accept_irregular", "overwrite")}
    if arguments.like is None:
        written = convert_scan(arguments.input, arguments.out, pixel_size_mm=arguments.pixel_size, **which)
        _print(written, written.modality or "no modality", arguments.out)
    else:
        resampled = convert_labels(arguments.input, arguments.out, like=arguments.like, **which)
        _print(resampled.labels, "labels", arguments.out)
        print(_table(resampled))
    return 0


def _print(volume: Volume, kind: str, out: Path) -> None:
    from ..progress import say

    for notice in volume.source.notices:
        say(f"note: {notice}")
    shape = "x".join(map(str, volume.array.shape))
    spacing = " x ".join(f"{edge:.3f}" for edge in volume.spacing_mm)
    print(f"{shape} voxels of {spacing} mm, {kind}: {out}")


def _table(resampled: Resampled) -> str:
    from ..evaluation.table_text import align

    rows = [["", "voxels before", "ml", "outside, ml", "voxels after", "ml"]]
    for a in resampled.amounts:
        before, after = f"{a.ml_before:.4g}", f"{a.ml_after:.4g}"
        rows.append([a.name, str(a.voxels_before), before, f"{a.ml_outside:.4g}", str(a.voxels_after), after])
    return align(rows) if resampled.amounts else "the mask marks nothing"
