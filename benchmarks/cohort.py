"""A cohort of small series, killed at random moments; on a Dask cluster that loses workers; and two workers against one.

    python benchmarks/cohort.py [--series 200] [--kills 20] [--lost 5] [--seed 0] [--only kills|cluster|speed] [-o cohort.json]

kills: an unbroken run is the reference; another is killed with SIGKILL, with all its processes, at random moments and started
again until it ends by itself, with one and two workers in turn. After each kill, whatever has a name must be whole.
cluster: the same on a local Dask cluster of two processes, of which one is killed at random moments.
speed: the same series by one worker of one thread (UNET_CORES=1) and by two workers, the whole command each, by the clock;
on a machine with nothing else to do, and with so many series that starting the processes does not count.

Each series must be done once: one record, one folder, masks byte for byte those of the unbroken run. Exit code 1 where not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "io")]
FIRST = 10_000_000
MOST_S = 3600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--lost", type=int, default=5, help="workers of the cluster that are killed")
    parser.add_argument("--side", type=int, default=64, help="columns and rows of a slice")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("kills", "cluster", "speed"))
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        words = prepared(place, options)
        reference = place / "unbroken"
        seconds = timed([*words, "-o", str(reference)])
        print(f"unbroken: {options.series} series in {seconds:.1f} s", flush=True)
        facts: dict[str, Any] = {"series": options.series, "unbroken_s": seconds}
        for name, measure in (("kills", killed), ("cluster", on_cluster), ("speed", speed)):
            if options.only in (None, name):
                facts[name] = measure(words, place, reference, seconds, options)
                print(f"{name}: {facts[name]}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    faults = [fault for part in facts.values() if isinstance(part, dict) for fault in part.get("faults", [])]
    return 1 if faults else 0


def prepared(place: Path, options: argparse.Namespace) -> list[str]:
    """Writes the series and a bundle of random weights. Returns: the command without its OUT."""
    from made_runs import make_bundle
    from made_series import save, volume_datasets

    for number in range(options.series):
        pixels = np.random.default_rng(number).integers(0, 2000, (options.slices, options.side, options.side))
        save(volume_datasets(pixels, series=f"1.2.826.0.1.3680043.8.498.{FIRST + number}"), place / "scans" / f"s{number}")
    bundle = make_bundle(place / "made", network={"width": options.width, "depth": options.depth})
    return ["cohort", str(bundle.path), str(place / "scans"), "--no-seg", "--runtime", "torch", "--precision", "fp32"]


def started(words: list[str], **variables: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "pipeline", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def timed(words: list[str], **variables: str) -> float:
    began = time.monotonic()
    if started(words, **variables).wait(MOST_S):
        sys.exit("the run failed")
    return time.monotonic() - began


def killed(words: list[str], place: Path, reference: Path, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """Each attempt may run for a random share of what is left, with what a process needs to start."""
    moments, out, faults, kills = random.Random(options.seed), place / "killed", list[str](), 0
    start_s = timed([*words, "-o", str(reference)])  # with nothing to do but look
    while True:
        process = started([*words, "-o", str(out), "--workers", str(1 + kills % 2)])
        share = 1.4 * seconds / options.kills  # less than 2, so that the kills are over before the series are
        try:
            code = process.wait(start_s + moments.uniform(0, share) if kills < options.kills else MOST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            faults += differences(out, reference, whole=False)
            continue
        if code == 0 and kills < options.kills:
            print(f"only {kills} kills: the cohort was done; more --series would take longer", flush=True)
        faults += differences(out, reference, whole=True) + ([f"exit code {code}"] if code else [])
        return {"kills": kills, "faults": faults}


def on_cluster(words: list[str], place: Path, reference: Path, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    from distributed import LocalCluster

    moments, out, lost = random.Random(options.seed), place / "cluster", 0
    settings: dict[str, Any] = {"scheduler_kwargs": {"dashboard": False}, "dashboard_address": None}
    with LocalCluster(n_workers=2, threads_per_worker=1, **settings) as cluster:
        process = started([*words, "-o", str(out), "--scheduler", cluster.scheduler_address])
        while process.poll() is None and lost < options.lost:
            time.sleep(moments.uniform(0.5, 1.5) * seconds / options.lost)
            alive = [worker.pid for worker in cluster.workers.values() if worker.pid]
            if alive and process.poll() is None:
                os.kill(moments.choice(alive), signal.SIGKILL)
                lost += 1
        code = process.wait(MOST_S)
    return {"lost": lost, "faults": differences(out, reference, whole=True) + ([f"exit code {code}"] if code else [])}


def speed(words: list[str], place: Path, reference: Path, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    one = timed([*words, "-o", str(place / "one")], UNET_CORES="1")
    two = timed([*words, "-o", str(place / "two"), "--workers", "2"])
    faults = [fault for name in ("one", "two") for fault in differences(place / name, reference, whole=True)]
    return {"one_worker_one_thread_s": one, "two_workers_s": two, "times": one / two, "faults": faults}


def differences(out: Path, reference: Path, *, whole: bool) -> list[str]:
    """What is not as in the unbroken run; of a killed one, of what it has finished."""
    ours, theirs = dict(masks(out)), dict(masks(reference))
    wrong = [f"{name}: another mask" for name, mask in ours.items() if theirs.get(name) != mask]
    wrong += [f"{path}: a folder without a mask" for path in out.glob("[!.]*/") if path.is_dir() and path.name not in ours]
    if whole:
        records = [json.loads(path.read_text()) for path in (out / ".units").glob("[!.]*.json")]
        wrong += [f"{name}: not done" for name in theirs if name not in ours]
        if sorted(record["folder"] for record in records if record["state"] == "done") != sorted(theirs):
            wrong.append("not one record a series")
        wrong += [f"{path}: left behind" for path in out.glob(".*.part*")]
    return wrong


def masks(out: Path) -> Iterator[tuple[str, bytes]]:
    for path in out.glob("[!.]*/mask.nii.gz"):
        yield path.parent.name, path.read_bytes()


if __name__ == "__main__":
    raise SystemExit(main())
