"""`unet predict`: arguments of a prediction, and the lines that are printed about it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .segmenting import add_computing_options, add_file_options, computing, formats

if TYPE_CHECKING:
    from ..errors import UserError
    from ..handout.batch import Order
    from ..inference.prediction import Prediction
    from ..inference.predictor import Predictor

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
    parser.add_argument("--dry-run", action="store_true", help="write nothing: say how long it will take, and how much memory")
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
    if arguments.dry_run:
        failures = _foretell(predictor, arguments.inputs, order)
    else:
        failures = predict_all(predictor, arguments.inputs, order, done=_print_with_timings if arguments.timings else _print)
    return 2 if failures else 0


def _foretell(predictor: Predictor, inputs: list[str], order: Order) -> list[UserError]:
    """What each input will take, and all of them together."""
    from ..handout.forecast import forecast_all

    forecasts, failures = forecast_all(predictor, inputs, order)
    for found in forecasts:
        columns, rows, slices = found.shape
        print(f"{found.name}: {columns} x {rows} x {slices} voxels")
        network = f"network {_time(found.segment_s)} ({found.slices} slices of {found.slice_s:.2f} s)"
        print(f"  time    {_time(found.seconds)}: reading {_time(found.read_s)}, {network}, writing {_time(found.write_s)}")
    if forecasts:
        start_s = forecasts[0].start_s
        print(f"all       {_time(start_s + sum(found.seconds for found in forecasts))}, with {_time(start_s)} to start")
        two_at_a_time = max((found.held_bytes for found in forecasts[1:]), default=0) if predictor.max_ram_bytes is None else 0
        print(f"memory    {(max(found.peak_bytes for found in forecasts) + two_at_a_time) / 1e9:.2f} GB")
    return failures


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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
