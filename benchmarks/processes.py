"""One training by one process with every core, and by two with half of them each: how long, and how different are the weights?

    python benchmarks/processes.py MANIFEST [--processes 2] [--epochs 2] [--rounds 3] [--set NAME=VALUE ...]

They take turns. A step's seconds are those that the run logs for its last epoch, samples included; the whole is the command
from its start to its end, with imports and preprocessing. Weights come close only in plain gradient descent without bf16
(`--set optimizer=sgd precision=fp32`): Adam makes the rounding errors of gradients that are 0 as large as any other step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {1: [], options.processes: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for processes, times in found.items():
                times.append(trained(options, processes, Path(folder) / f"{processes}_{number}"))
        difference = weights_apart(*(Path(folder) / f"{processes}_0" for processes in found))
    medians = {
        processes: {key: statistics.median(t[key] for t in times) for key in times[0]} for processes, times in found.items()
    }
    for processes, seconds in medians.items():
        print(
            f"{processes} process{'es' * (processes > 1)}: {seconds['step_s']:.3f} s a step, {seconds['whole_s']:.1f} s in all"
        )
    one, many = medians.values()
    print(f"step {many['step_s'] / one['step_s']:.2f} times, whole {many['whole_s'] / one['whole_s']:.2f} times as long")
    print(f"weights differ by {difference:.1e} of a layer's largest")
    if options.out:
        options.out.write_text(
            json.dumps({"medians": medians, "times": found, "apart": difference}, indent=1), encoding="utf-8"
        )
    return 0


def trained(options: argparse.Namespace, processes: int, folder: Path) -> dict[str, float]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    words = ["train", str(options.manifest), "--epochs", str(options.epochs)]
    settings = [word for text in options.set for word in ("--set", text)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}.db"}
    if launcher:
        environment["OMP_NUM_THREADS"] = "1"  # as torchrun would set it, without its word about that
    command = [sys.executable, *launcher, "-m", "pipeline", *words, *settings, "-o", str(folder)]
    began = time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    last = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return {"step_s": last["train/step_s"], "whole_s": whole_s}


def weights_apart(one: Path, many: Path) -> float:
    """The largest difference between two runs' learned weights, in parts of the largest weight of the layer."""
    import torch

    first, second = (_weights(folder) for folder in (one, many))
    apart = [(first[name] - second[name]).abs().max() / first[name].abs().max().clamp(min=1e-3) for name in first]
    return float(torch.stack(apart).max())


def _weights(folder: Path) -> dict[str, Any]:
    from pipeline.training.checkpoint import load_checkpoint
    from pipeline.training.run_folder import RunFolder

    state = load_checkpoint(RunFolder(path=folder).last)
    return {name: tensor.double() for name, tensor in (state.get("learning") or state["network"]).items()}


if __name__ == "__main__":
    sys.exit(main())
