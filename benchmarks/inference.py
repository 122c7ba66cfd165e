"""How long does it take from a CT series in DICOM to a mask on the disk: ours beside MONAI's own path, with the same weights?

    python benchmarks/inference.py [--slices 120] [--runs 5] [--width 64] [--who ...] [-o inference.json]

Every run is a process of its own, from start to exit; the contestants take turns, and medians count. The series is made up: a
body of tissue, bone and lung in air, 512 x 512 pixels of 0.7 mm. The network has random weights, which cost the same as others.
    MONAI          LoadImage, ScaleIntensityRange, SliceInferer over the network in fp32, argmax, SaveImage
    unet           `unet predict`, runtime and precision as it chooses; its choice is made before
    unet, box      the same, and the air around the body left out
    unet, NAME P   a runtime and a precision, e.g. "unet, torch fp32"
Agreement is the share of voxels with MONAI's label.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SIDE, PIXEL_MM, SLICE_MM = 512, 0.7, 3.0
WINDOW_HU = (-160.0, 240.0)
USUAL = ["MONAI", "unet", "unet, box"]


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = write_series(folder / "series", options.slices)
        plain, boxed = (write_bundle(folder / kind, options.width, body_box=kind == "boxed") for kind in ("plain", "boxed"))
        commands = {who: command(who, series, plain, boxed, folder) for who in options.who}
        for who in options.who:
            if who != "MONAI":
                timed(commands[who], folder / "out")  # chooses and converts, once for each bundle and machine
        seconds: dict[str, list[float]] = {who: [] for who in options.who}
        masks: dict[str, np.ndarray] = {}
        for _ in range(options.runs):
            for who in options.who:
                seconds[who].append(timed(commands[who], folder / "out"))
                masks[who] = mask_in(folder / "out")
        results = {who: facts(who, seconds, masks) for who in options.who}
    for who, found in results.items():
        print(line(who, found))
    machine = {"processor": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()}
    if options.out:
        told = {"slices": options.slices, "width": options.width, "machine": machine, "results": results}
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--who", nargs="*", default=USUAL)
    parser.add_argument("-o", "--out", type=Path)
    return parser.parse_args()


def write_series(folder: Path, slices: int) -> Path:
    """A CT of a body of 380 x 260 mm with lungs and a spine, one file a slice."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rows, columns = np.ogrid[:SIDE, :SIDE]
    random = np.random.default_rng(0)
    series, study = generate_uid(), generate_uid()
    folder.mkdir(parents=True)
    for number in range(slices):
        grow = 1 + 0.05 * np.sin(number / 10)
        image = np.full((SIDE, SIDE), -1000.0)
        image[ellipse(rows, columns, 256, 256, 186 * grow, 270 * grow)] = 40
        for column in (150, 362):
            image[ellipse(rows, columns, 240, column, 100, 70)] = -850
        image[ellipse(rows, columns, 380, 256, 35, 40)] = 400
        image += random.normal(0, 15, image.shape)
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = CTImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID, item.FrameOfReferenceUID = series, study, study
        item.Modality, item.SeriesNumber, item.InstanceNumber, item.PatientID = "CT", 1, number + 1, "made up"
        item.Rows = item.Columns = SIDE
        item.PixelSpacing, item.SliceThickness = [PIXEL_MM, PIXEL_MM], SLICE_MM
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.ImagePositionPatient = [-179.2, -179.2, number * SLICE_MM]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = 1, 0, "HU"
        item.PixelData = image.astype("<i2").tobytes()
        item.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def ellipse(rows: np.ndarray, columns: np.ndarray, row: float, column: float, high: float, wide: float) -> np.ndarray:
    return np.asarray(((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1)


def write_bundle(folder: Path, width: int, *, body_box: bool) -> Path:
    """A bundle of the original U-Net with the paper's initial weights, two structures, on CT."""
    import torch

    from pipeline.bundle.build import build_bundle
    from pipeline.bundle.checks import Checks
    from pipeline.data.manifest import Case, Manifest, write_manifest
    from pipeline.data.normalise import Normalisation
    from pipeline.data.slice_grid import Preprocessing
    from pipeline.io.paths import write_text
    from pipeline.labels import label_table
    from pipeline.network.catalogue import build_network
    from pipeline.network.ranges import find_ranges
    from pipeline.training.checkpoint import save_checkpoint
    from pipeline.training.experiment import Experiment, NetworkSettings, experiment_yaml
    from pipeline.training.run_folder import RunFolder

    run, table = RunFolder(path=folder / "run"), label_table({"organ": 1, "lesion": 2})
    how = Normalisation(kind="window", low=WINDOW_HU[0], high=WINDOW_HU[1])
    experiment = Experiment(
        network=NetworkSettings(width=width), preprocessing=Preprocessing(normalisation=how), manifest="manifest.json"
    )
    case = Case(case="a", image=("a.nii",), label=("b.nii",), patient_id="a", fold=0, shape=(9, 9, 9), spacing_mm=(1.0,) * 3)
    run.last.parent.mkdir(parents=True)
    hashed = {"image_sha256": ("a" * 64,), "label_sha256": ("b" * 64,)}
    cases = (replace(case, modality="CT", **hashed),)
    write_manifest(Manifest(name="made", data_root=folder, table=table, cases=cases), run.manifest_file)
    write_text(run.experiment_file, experiment_yaml(experiment, {}))
    run.note({"fold": None, "finished": True, "image_channels": 1, "best_epoch": 1})
    torch.manual_seed(0)
    network = build_network("original", experiment.network_settings(table, 1))
    save_checkpoint({"epoch": 1, "network": network.state_dict()}, run.best)
    save_checkpoint({"epoch": 1, "network": network.state_dict()}, run.last)
    images = torch.randn(2, 1, 1, 252, 252)
    checks = Checks(
        cases=1, unseen=False, differences={}, outside_body=0 if body_box else None, ranges=(find_ranges(network, images),)
    )
    return build_bundle(run.path, folder / "bundle", check=lambda *_: checks).path


def command(who: str, series: Path, plain: Path, boxed: Path, folder: Path) -> list[str]:
    out = str(folder / "out")
    if who == "MONAI":
        return [sys.executable, __file__.replace("inference.py", "inference_monai.py"), str(plain), str(series), out]
    words = [sys.executable, "-m", "pipeline", "predict", str(boxed if who == "unet, box" else plain), str(series), "-o", out]
    if who in ("unet", "unet, box"):
        return words
    runtime, precision = who.removeprefix("unet, ").split()
    return [*words, "--runtime", runtime, "--precision", precision]


def timed(words: list[str], out: Path) -> float:
    """Seconds of the whole process."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def mask_in(out: Path) -> np.ndarray:
    (path,) = [*out.rglob("mask.nii.gz"), *out.rglob("*_seg.nii.gz")]
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj).astype(np.uint8)


def facts(who: str, seconds: dict[str, list[float]], masks: dict[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {"median_s": statistics.median(seconds[who]), "each_s": seconds[who]}
    if "MONAI" in seconds:
        found["times_faster"] = statistics.median(seconds["MONAI"]) / found["median_s"]
        found["agreement"] = float(np.mean(masks[who] == masks["MONAI"]))
    return found


def line(who: str, found: dict[str, Any]) -> str:
    compared = (
        f"  {found['times_faster']:5.2f} times as fast  {found['agreement']:.4%} the same" if "agreement" in found else ""
    )
    return f"{who:<28} {found['median_s']:8.2f} s{compared}"


if __name__ == "__main__":
    sys.exit(main())
