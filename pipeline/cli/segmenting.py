"""Options that `unet predict` and `unet cohort` share: which files are handed out, and what computes the network."""

from __future__ import annotations

import argparse
from typing import Any

from ..network.sizes import DEFAULT_TILE
from .memory_size import bytes_of

FORMATS = ("seg", "rtstruct", "slicer", "itksnap", "probabilities", "uncertainty")  # options by the names of `chosen_formats`


def add_file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept-irregular", action="store_true", help="also slices with holes or uneven distances")
    parser.add_argument("--seg", action=argparse.BooleanOptionalAction, help="DICOM SEG; on where the input is DICOM")
    parser.add_argument("--rtstruct", action="store_true", help="also an RTSTRUCT, where the input is DICOM")
    parser.add_argument("--slicer", action="store_true", help="also mask.seg.nrrd, a segmentation of 3D Slicer")
    parser.add_argument("--itksnap", action="store_true", help="also mask.labels.txt, label descriptions of ITK-SNAP")
    parser.add_argument("--probabilities", action="store_true", help="also probabilities.nii.gz, a channel a structure")
    parser.add_argument("--uncertainty", action="store_true", help="also uncertainty.nii.gz: 0 certain, 1 cannot tell")
    parser.add_argument("--page", action=argparse.BooleanOptionalAction, default=True, help="report.html, to look at; on")


def add_computing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where the network runs")
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="auto|torch|openvino|openvino-winograd|onnxruntime",
        help="what computes the network",
    )
    parser.add_argument(
        "--precision", default="auto", metavar="auto|fp32|bf16|int8", help="bf16 is faster where the CPU has it"
    )
    parser.add_argument("--flips", "--tta", action="store_true", help="average over mirror images, if the training had them")
    parser.add_argument("--only", nargs="+", default=(), metavar="LABEL", help="these structures alone")
    parser.add_argument("--tile", type=int, default=DEFAULT_TILE, metavar="PX", help="largest tile: memory, not the mask")
    parser.add_argument("--max-ram", metavar="SIZE", help="smaller tiles until it fits, e.g. 4G; refused where it cannot")


def formats(arguments: argparse.Namespace) -> dict[str, bool | None]:
    """As `chosen_formats` takes them."""
    return {name: getattr(arguments, name) for name in FORMATS}


def computing(arguments: argparse.Namespace) -> dict[str, Any]:
    """As `Predictor` takes them."""
    names = ("device", "runtime", "precision", "flips", "tile")
    return {
        **{name: getattr(arguments, name) for name in names},
        "only": tuple(arguments.only),
        "max_ram_bytes": bytes_of(arguments.max_ram),
    }
