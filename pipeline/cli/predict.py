"""`unet predict`: arguments of a prediction, and the lines that are printed about it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..network.sizes import DEFAULT_TILE

if TYPE_CHECKING:
    from ..inference.prediction import Prediction

DESCRIPTION = """Segment DICOM folders, zips of them, NIfTI files or pictures with a bundle.
Writes OUT/<name>/: mask.nii.gz on the input's own grid, mask.json (labels, volumes in ml, warnings), overlay.png,
report.html to look at, and for DICOM mask.seg.dcm, a segmentation that refers to the series."""
EXAMPLE = "unet predict bundles/NAME DICOM_FOLDER -o predictions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of 'unet bundle build'")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="DICOM folder, zip of one, NIfTI file, or picture")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="where the prediction folders go")
    parser.add_argument("--series", default="", metavar="S", help="which series, where a folder holds several: number or UID")
    parser.add_argument("--volume", default="", metavar="V", help="which volume, where a series holds several")
    parser.add_argument("--accept-irregular", action="store_true", help="also slices with holes or uneven distances")
    parser.add_argument("--pixel-size", type=float, metavar="MM", help="of pictures, which do not say it")
    parser.add_argument("--seg", action=argparse.BooleanOptionalAction, help="DICOM SEG; on where the input is DICOM")
    parser.add_argument("--rtstruct", action="store_true", help="also an RTSTRUCT, where the input is DICOM")
    parser.add_argument("--slicer", action="store_true", help="also mask.seg.nrrd, a segmentation of 3D Slicer")
    parser.add_argument("--itksnap", action="store_true", help="also mask.labels.txt, label descriptions of ITK-SNAP")
    parser.add_argument("--page", action=argparse.BooleanOptionalAction, default=True, help="report.html, to look at; on")
    parser.add_argument("--timings", action="store_true", help="print the seconds of each stage")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions of the same name")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps", help="where the network runs")
    parser.add_argument(
        "--runtime", default="auto", metavar="auto|torch|openvino|onnxruntime", help="what computes the network"
    )
    parser.add_argument("--precision", default="auto", metavar="auto|fp32|bf16", help="bf16 is faster where the CPU has it")
    parser.add_argument("--flips", action="store_true", help="average over mirror images, where the training had them")
    parser.add_argument("--tile", type=int, default=DEFAULT_TILE, metavar="PX", help="largest tile: memory, not the mask")


def run(arguments: argparse.Namespace) -> int:
    from ..handout.batch import Order, predict_all
    from ..inference.predictor import Predictor

    order = Order(
        out=Path(arguments.out),
        formats={name: getattr(arguments, name) for name in ("seg", "rtstruct", "slicer", "itksnap")},
        overwrite=arguments.overwrite,
        series=arguments.series,
        volume=arguments.volume,
        pixel_size_mm=arguments.pixel_size,
        accept_irregular=arguments.accept_irregular,
        page=arguments.page,
        command=_without_places(arguments),
    )
    predictor = Predictor.from_bundle(
        arguments.bundle,
        device=arguments.device,
        runtime=arguments.runtime,
        precision=arguments.precision,
        tile=arguments.tile,
        flips=arguments.flips,
    )
    failures = predict_all(predictor, arguments.inputs, order, done=_print_with_timings if arguments.timings else _print)
    return 2 if failures else 0


def _print(prediction: Prediction, folder: Path) -> None:
    print(folder)
    for found in prediction.structures:
        print(f"  {found}")
    for notice in prediction.notices:
        print(f"  note: {notice}")


def _print_with_timings(prediction: Prediction, folder: Path) -> None:
    _print(prediction, folder)
    timings_s = json.loads((folder / "mask.json").read_text(encoding="utf-8"))["timings_s"]
    print(f"  seconds: {', '.join(f'{stage} {seconds:.2f}' for stage, seconds in timings_s.items())}")


def _without_places(arguments: argparse.Namespace) -> str:
    """What was typed, for page and sidecar; folders may be named after patients."""
    words: list[str] = []
    for word in arguments.words:
        if word in arguments.inputs:
            word = "INPUT"
            if words[-1:] == ["INPUT"]:
                continue
        elif word.startswith("-") and word.endswith(arguments.out):
            word = word.removesuffix(arguments.out) + "OUT"  # -oOUT, --out=OUT
        words.append("OUT" if word == arguments.out else word)
    return shlex.join(["unet", *words])
