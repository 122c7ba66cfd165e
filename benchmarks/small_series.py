"""A small series of 40 slices of 256 x 256 pixels, as clinics have thousands: how long does the whole command take, and do a
hundred of them in one process take a hundred times as long, in the memory of one?

    python benchmarks/small_series.py BUNDLE [--runs 5] [--many 100] [--words "--no-page"] [-o small_series.json]

The series is made up, of the modality that the bundle was trained on; `unet demo` leaves a bundle in bundles/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from made_ct import SIDE as FULL_SIDE
from made_ct import write_series

from pipeline.bundle.bundle import open_bundle
from pipeline.handout.batch import Order, predict_all
from pipeline.inference.predictor import Predictor
from pipeline.process import resident_bytes

SLICES, SIDE, PIXEL_MM = 40, 256, 1.6  # a field of 410 mm
WARM = 10  # series after which everything is loaded that ever will be


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--words", default="", help="further words of `unet predict`")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    modality = open_bundle(options.bundle).recipe.modality or "MR"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        series = made(place / "series", modality)
        told: dict[str, Any] = {"processor": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()}
        told["one"] = one(options, series, place / "out")
        print(f"one: {told['one']['median_s']:.2f} s, of which {told['one']['stages']}", flush=True)
        if options.many:
            told["many"] = many(options, place, modality)
            print(f"many: {told['many']}")
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


def made(folder: Path, modality: str, seed: int = 0) -> Path:
    pixel_mm = PIXEL_MM * SIDE / FULL_SIDE
    return write_series(folder, SLICES, 2, pixel_mm=pixel_mm, side=SIDE, modality=modality, seed=seed)


def one(options: argparse.Namespace, series: Path, out: Path) -> dict[str, Any]:
    """The whole command; the first one, which chooses what computes, does not count."""
    words = [sys.executable, "-m", "pipeline", "predict", str(options.bundle), str(series), "-o", str(out)]
    seconds, stages = [], {}
    for _ in range(options.runs + 1):
        shutil.rmtree(out, ignore_errors=True)
        began = time.perf_counter()
        subprocess.run([*words, *shlex.split(options.words)], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
        (sidecar,) = out.rglob("mask.json")
        stages = json.loads(sidecar.read_text(encoding="utf-8"))["timings_s"]
    return {"median_s": statistics.median(seconds[1:]), "each_s": seconds[1:], "stages": stages}


def many(options: argparse.Namespace, place: Path, modality: str) -> dict[str, Any]:
    """One process: seconds a series by tenths, and by how much memory grew after the first few."""
    inputs = [str(made(place / f"{n}", modality, seed=n)) for n in range(options.many)]
    predictor = Predictor.from_bundle(options.bundle)
    ends, memory = [time.perf_counter()], []

    def done(*_: object) -> None:
        ends.append(time.perf_counter())
        memory.append(resident_bytes())

    order = Order(out=place / "many", formats={"seg": None})
    failures = predict_all(predictor, inputs, order, done=done)
    assert not failures
    each = [after - before for before, after in itertools.pairwise(ends)]
    tenth = max(1, len(each) // 10)
    return {
        "series": len(each),
        "s_by_tenths": [
            round(statistics.median(some), 3) for some in (each[start : start + tenth] for start in range(0, len(each), tenth))
        ],
        "growth_mb": (memory[-1] - memory[WARM]) / 1e6,
        "peak_mb": max(memory) / 1e6,
    }


if __name__ == "__main__":
    sys.exit(main())
