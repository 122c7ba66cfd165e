"""`unet convert`: the volume of a DICOM series as NIfTI, as it was read."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Write the one volume of a DICOM folder, file or zip as NIfTI: values as read (HU for CT), on the grid that a
mask of it would have. A tilted CT is brought to a right-angled grid, each slice moved in its own plane."""
EXAMPLE = "unet convert STUDY_FOLDER ct.nii.gz --series 4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dicom", type=Path, metavar="DICOM", help="DICOM folder (sub-folders included), file or zip")
    parser.add_argument("out", type=Path, metavar="OUT.nii.gz", help="file to write; an existing one is replaced")
    parser.add_argument("--series", default="", metavar="S", help="series number, or the last 8 digits of its UID")
    parser.add_argument("--volume", default="", metavar="V", help="name or number of one volume of the series, as listed")


def run(arguments: argparse.Namespace) -> int:
    from ..io.nifti import write_nifti
    from ..io.read import read_volume
    from ..io.regrid import orthogonal
    from ..progress import say

    volume = orthogonal(read_volume(arguments.dicom, series=arguments.series, volume=arguments.volume))
    write_nifti(volume, arguments.out)
    for notice in volume.source.notices:
        say(f"note: {notice}")
    shape = "x".join(map(str, volume.array.shape))
    spacing = " x ".join(f"{edge:.3f}" for edge in volume.spacing_mm)
    print(f"{shape} voxels of {spacing} mm, {volume.modality or 'no modality'}: {arguments.out}")
    return 0
