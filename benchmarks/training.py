"""How good is a training after so many minutes: ours beside nnU-Net's 2-D configuration, on the same cases, machine and clock.

    python benchmarks/training.py DATA --train TRAIN.txt --test TEST.txt --peers PEERS --peer-python PYTHON --minutes 20

DATA is a Decathlon folder (imagesTr, labelsTr, and dataset.json or --labels); TRAIN and TEST list cases, one a line. PEERS
holds `nnunet_2d.py` and `score_masks.py`, PYTHON has nnU-Net in it. Everybody trains on the training cases alone and for the
minutes alone, with no other job beside; the test cases are seen once, by the last weights. Our minutes are those of the whole
command; nnU-Net's begin when its loaders run, after planning and preprocessing. `score_masks.py` scores all masks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUFFIX = ".nii.gz"
NNUNET = {"nnU-Net": [], "nnU-Net batch 32": ["--batch", "32", "--mirroring"]}


def main() -> int:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    data = decathlon(options)
    results: dict[str, Any] = {"machine": platform.processor(), "cores": os.cpu_count(), "minutes": options.minutes}
    for name in options.who:
        load = os.getloadavg()
        began = time.monotonic()
        scores = ours(data, options) if name == "unet" else nnunet(name, data, options)
        for variant, found in scores.items():
            results[variant] = {**found, "whole_s": round(time.monotonic() - began), "load_before": load}
            print(line(variant, found), flush=True)
    (options.out / "training.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME=VALUE", help="where there is no dataset.json")
    parser.add_argument("--modality", default="MR")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--who", nargs="*", default=["unet", *NNUNET], choices=["unet", *NNUNET])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of ours")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    return parser.parse_args()


def decathlon(options: argparse.Namespace) -> Path:
    """The data with a dataset.json, which is made where there is none."""
    if (options.data / "dataset.json").is_file():
        return Path(options.data)
    folder: Path = options.out / "data"
    folder.mkdir(exist_ok=True)
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).exists():
            (folder / part).symlink_to((options.data / part).resolve())
    labels = {"background": 0} | {name: int(value) for name, value in (text.split("=") for text in options.labels)}
    description = {"labels": {str(value): name for name, value in labels.items()}, "modality": {"0": options.modality}}
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def labels_of(data: Path) -> dict[str, int]:
    """Name → value, without the background."""
    told = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["labels"]
    return {name: int(value) for value, name in told.items() if int(value)}


def ours(data: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """`unet train --fold none` on the training cases, its bundle, and the bundle's masks of the test cases."""
    work = options.out / "unet"
    work.mkdir()
    for part in ("imagesTr", "labelsTr"):
        (work / "data" / part).mkdir(parents=True)
        for case in options.train.read_text(encoding="utf-8").split():
            (work / "data" / part / f"{case}{SUFFIX}").symlink_to((data / part / f"{case}{SUFFIX}").resolve())
    labels = labels_of(data)
    words = ",".join(f"{name}={value}" for name, value in labels.items())
    manifest = work / "train.json"
    unet("manifest", work / "data", "--labels", words, "--folds", "2", "--modality", options.modality, "-o", manifest)
    settings = [word for text in options.set for word in ("--set", text)]
    budget = f"{options.minutes * 60:.0f}s"
    began = time.monotonic()
    unet("train", manifest, "--fold", "none", "--time-budget", budget, *settings, "-o", work / "run")
    trained_s = time.monotonic() - began
    unet("bundle", "build", work / "run", "-o", work / "bundle")
    predict(work / "bundle", data, options.test, work / "masks")
    log = [json.loads(text) for text in (work / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    more = {"trained_s": round(trained_s), "epochs": log[-1]["epoch"], "last_epoch": log[-1]}
    return {"unet": {**score(work / "masks", data, options), **more}}


def predict(bundle: Path, data: Path, test: Path, out: Path) -> None:
    from pipeline import Predictor
    from pipeline.io.nifti import write_nifti

    out.mkdir()
    predictor = Predictor.from_bundle(bundle)
    for case in test.read_text(encoding="utf-8").split():
        write_nifti(predictor.predict(data / "imagesTr" / f"{case}{SUFFIX}").labels, out / f"{case}{SUFFIX}")


def nnunet(name: str, data: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """nnU-Net, and where it predicts mirrored as well, that as a second variant."""
    work = options.out / name.replace(" ", "_")
    command = [
        options.peer_python,
        options.peers / "nnunet_2d.py",
        data,
        work,
        "--train",
        options.train,
        "--test",
        options.test,
    ]
    started([*command, "--minutes", str(options.minutes), *NNUNET[name]])
    told = json.loads((work / "result.json").read_text(encoding="utf-8"))
    facts = {key: value for key, value in told.items() if key in ("iterations", "training_cpu_seconds", "batch_size")}
    found = {name: {**score(work / "masks", data, options), **facts}}
    mirrored = work / "masks_mirrored"
    return found | ({f"{name}, mirrored": score(mirrored, data, options)} if mirrored.is_dir() else {})


def score(masks: Path, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Structure → mean Dice over the test cases, and the mean of the structures."""
    words = [f"{value}={name}" for name, value in labels_of(data).items()]
    command = [options.peer_python or sys.executable, options.peers / "score_masks.py", masks, data / "labelsTr", "--json"]
    text = started([*command, "--cases", options.test, "--labels", *words], capture=True)
    dices = {name: scores["dice"] for name, scores in json.loads(text)["structures"].items()}
    known = [value for value in dices.values() if value is not None]
    return {"dice": dices, "mean": sum(known) / len(known)}


def unet(*words: object) -> None:
    started([sys.executable, "-m", "pipeline", *words])


def started(command: Sequence[object], *, capture: bool = False) -> str:
    """Run it to its end; what it says on stderr stays visible."""
    parts = [str(part) for part in command]
    print("$", shlex.join(parts), file=sys.stderr, flush=True)
    done = subprocess.run(parts, check=True, text=True, stdout=subprocess.PIPE if capture else sys.stderr)
    return done.stdout or ""


def line(name: str, found: dict[str, Any]) -> str:
    each = "  ".join(f"{structure} {dice:.3f}" for structure, dice in found["dice"].items() if dice is not None)
    return f"{name:<28} mean {found['mean']:.4f}  {each}"


if __name__ == "__main__":
    sys.exit(main())
