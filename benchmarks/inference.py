"""How long does it take from a CT series in DICOM to a mask on the disk, and how much memory: ours beside MONAI's own path with
the same weights, and beside nnU-Net, each with the network that it plans?

    python benchmarks/inference.py [--slices 120] [--organs 2] [--pixel 0.977] [--runs 5] [--width 64] [--who ...]
        [--peer-python PYTHON] [-o F]

Every run is a process of its own, from start to exit; the contestants take turns, and medians count. The series is made up: a
body with organs in air, 512 x 512 pixels. The networks have random weights, but for what finds the organs.
    MONAI            LoadImage, ScaleIntensityRange, SliceInferer over the network in fp32, argmax, SaveImage
    unet             `unet predict`, runtime and precision as it chooses; its choice is made before
    unet, box        the same, and the air around the body left out
    unet, NAME P     a runtime and a precision, e.g. "unet, openvino int8"; "unet, box NAME P" without the air
    nnU-Net          its default prediction, mirrored, from NIfTI: it does not read DICOM (needs --peer-python)
    nnU-Net plain    the same without mirror images
    unet, planned    with the network that `unet plan` chooses for a night on this machine, without the air: as a bundle comes
Agreement is the share of voxels with MONAI's label. The network's share is that of `segment` in the whole process; its rate is
compared with the best that the same runtime reaches on one tile of a slice, over and over.
"""

from __future__ import annotations

import argparse
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from made_ct import PIXEL_MM, SIDE, MadeScan, read_series, write_bundle, write_planned_bundle, write_series

USUAL = ["MONAI", "unet", "unet, box"]
HERE = Path(__file__).parent
ONE_TILE = """
import sys, time, torch
from pipeline import Predictor
path, side, runtime, precision = sys.argv[1:]
network = Predictor.from_bundle(path, runtime=runtime, precision=precision).network
image = torch.randn(1, network.network.design.in_channels, int(side), int(side))
times = []
with torch.inference_mode():
    for _ in range(6):
        began = time.perf_counter()
        network(image)
        times.append(time.perf_counter() - began)
print(min(times[1:]))
"""


@dataclass
class Measured:
    """All runs of one contestant."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)  # bytes
    stages: list[dict[str, float]] = field(default_factory=list)  # ours: seconds by stage
    provenance: dict[str, str] = field(default_factory=dict)
    mask: np.ndarray | None = None


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = prepared(folder, options)
        for who, words in commands.items():
            if who.startswith("unet"):
                run([*words, "--dry-run"], folder / "out")  # chooses and converts, once for each bundle and machine
        measured = {who: Measured() for who in commands}
        for _ in range(options.runs):
            for who, words in commands.items():
                seconds, peak = run(words, folder / "out")
                note(measured[who], seconds, peak, folder / "out")
                print(f"{who:<28} {seconds:8.2f} s {peak / 1e9:5.2f} GB", flush=True)
        results = {who: facts(who, measured, options.slices, words) for who, words in commands.items()}
    for who, found in results.items():
        print(line(who, found))
    machine = {"processor": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()}
    if options.out:
        told = {
            "slices": options.slices,
            "organs": options.organs,
            "pixel_mm": options.pixel,
            "width": options.width,
            "machine": machine,
            "results": results,
        }
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--organs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument(
        "--pixel", type=float, default=PIXEL_MM, metavar="MM", help="larger pixels show more air around the body"
    )
    parser.add_argument("--who", nargs="*", default=USUAL)
    parser.add_argument("--words", default="", help='further words of `unet predict`, such as "--max-ram 4G"')
    parser.add_argument("--peer-python", type=Path, help="of an environment with nnU-Net")
    parser.add_argument("-o", "--out", type=Path)
    return parser.parse_args()


def prepared(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Contestant → its command."""
    series, out = write_series(folder / "series", options.slices, options.organs, pixel_mm=options.pixel), str(folder / "out")
    scan = read_series(series, options.organs)
    image, label = scan.write_nifti(folder)
    plain, boxed = (write_bundle(folder / kind, scan, options.width, body_box=kind == "boxed") for kind in ("plain", "boxed"))
    commands = {}
    for who in options.who:
        if who == "MONAI":
            words = [sys.executable, HERE / "inference_monai.py", plain, series, out]
        elif who.startswith("nnU-Net"):
            words = [options.peer_python, HERE / "inference_nnunet.py", "predict", folder / "nnunet", image, out]
            words += ["--no-mirroring"] if who.endswith("plain") else []
            if not (folder / "nnunet").exists():
                prepare = [HERE / "inference_nnunet.py", "prepare", folder / "nnunet", image, label, str(options.organs)]
                subprocess.run([options.peer_python, *prepare], check=True)
        else:
            words = ours(who, plain, boxed, folder, scan)
            words = [sys.executable, "-m", "pipeline", "predict", words[0], series, "-o", out, *words[1:]]
            words += shlex.split(options.words)
        commands[who] = list(map(str, words))
    return commands


def ours(who: str, plain: Path, boxed: Path, folder: Path, scan: MadeScan) -> list[Any]:
    """The bundle, and options."""
    wanted = who.removeprefix("unet").removeprefix(", ").split()
    if wanted == ["planned"]:
        return [write_planned_bundle(folder / "planned", scan, folder / "image.nii.gz", folder / "label.nii.gz")]
    bundle = boxed if wanted[:1] == ["box"] else plain
    if not wanted or wanted == ["box"]:
        return [bundle]
    runtime, precision = wanted[-2:]
    return [bundle, "--runtime", runtime, "--precision", precision]


def run(words: list[str], out: Path) -> tuple[float, int]:
    """Seconds of the whole process, and the most memory it held in bytes (looked at ten times a second)."""
    shutil.rmtree(out, ignore_errors=True)
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = status.read_text(encoding="ascii").splitlines()
            peak = max(peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return seconds, peak


def note(measured: Measured, seconds: float, peak: int, out: Path) -> None:
    measured.seconds.append(seconds)
    measured.peaks.append(peak)
    (path,) = [*out.rglob("mask.nii.gz"), *out.rglob("*_seg.nii.gz")]
    image = nibabel.as_closest_canonical(nibabel.load(path))
    measured.mask = np.asarray(image.dataobj).astype(np.uint8)
    for sidecar in out.rglob("mask.json"):
        said = json.loads(sidecar.read_text(encoding="utf-8"))
        measured.stages.append(said["timings_s"])
        measured.provenance = said["provenance"]


def facts(who: str, measured: dict[str, Measured], slices: int, words: list[str]) -> dict[str, Any]:
    mine = measured[who]
    found: dict[str, Any] = {
        "median_s": statistics.median(mine.seconds),
        "each_s": mine.seconds,
        "peak_gb": max(mine.peaks) / 1e9,
    }
    if mine.stages:
        segment_s = statistics.median(stages["segment"] for stages in mine.stages)
        runtime, precision = mine.provenance["runtime"], mine.provenance["precision"]
        found |= {
            "stages": mine.stages,
            "computed_by": f"{runtime} {precision}",
            "network_share": segment_s / found["median_s"],
        }
        if "box" not in who and "planned" not in who:  # whose tiles are all of a whole slice
            tile = subprocess.run(
                [sys.executable, "-c", ONE_TILE, words[4], str(SIDE), runtime, precision],
                check=True,
                capture_output=True,
                text=True,
            )
            found["share_of_best_rate"] = float(tile.stdout) * slices / segment_s
    for other in measured:
        if not other.startswith("unet") and other != who:
            found[f"times_faster_than {other}"] = statistics.median(measured[other].seconds) / found["median_s"]
    reference = measured["MONAI"].mask if "MONAI" in measured else None
    if reference is not None and mine.mask is not None and not who.startswith("nnU-Net"):
        found["agreement"] = float(np.mean(mine.mask == reference))
    return found


def line(who: str, found: dict[str, Any]) -> str:
    words = [f"{who:<28} {found['median_s']:8.2f} s {found['peak_gb']:5.2f} GB"]
    words += [f"{value:.2f} x {key.split(' ', 1)[1]}" for key, value in found.items() if key.startswith("times_faster")]
    words += [f"{found['agreement']:.4%} the same"] if "agreement" in found else []
    words += [f"{found['computed_by']}, network {found['network_share']:.0%}"] if "computed_by" in found else []
    words += [f"{found['share_of_best_rate']:.0%} of the best rate"] if "share_of_best_rate" in found else []
    return "  ".join(words)


if __name__ == "__main__":
    sys.exit(main())
