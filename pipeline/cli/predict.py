"""`unet predict`: arguments of a prediction, and the lines that are printed about it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .segmenting import add_computing_options, add_file_options, computing, formats

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
    parser.add_argument("--pixel-size", type=float, metavar="MM", help="of pictures, which do not say it")
    parser.add_argument("--timings", action="store_true", help="print the seconds of each stage")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions of the same name")
    add_file_options(parser)
    add_computing_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..handout.batch import Order, predict_all
    from ..inference.predictor import Predictor

    order = Order(
        out=Path(arguments.out),
        formats=formats(arguments),
        overwrite=arguments.overwrite,
        series=arguments.series,
        volume=arguments.volume,
        pixel_size_mm=arguments.pixel_size,
        accept_irregular=arguments.accept_irregular,
        page=arguments.page,
        command=_without_places(arguments),
    )
    predictor = Predictor.from_bundle(arguments.bundle, **computing(arguments))
    failures = predict_all(predictor, arguments.inputs, order, done=_print_with_timings if arguments.timings else _print)
    return 2 if failures else 0


def _print(prediction: Prediction, folder: Path) -> None:
    print(folder)
    for found in prediction.structures:
        print(f"  {found}")
    for notice in prediction.notices:
        print(f"  note: {notice}")


def _print_with_timings(prediction: Prediction, folder: Path) -> None:
    from ..handout.sidecar import SIDECAR

    _print(prediction, folder)
    timings_s = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))["timings_s"]
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
