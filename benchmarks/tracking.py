"""What tracking costs a training: processor time of the thread that tells MLflow, and what the training waits for it.

    python benchmarks/tracking.py MANIFEST [--epochs 5] [--set NAME=VALUE ...] [--uri sqlite:///...]

Trains as `unet train` does, in this process, and compares with the processor time and the wall time of the whole training.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPENT = {"thread_cpu_s": 0.0, "waited_s": 0.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--uri", help="MLflow's address; by default a new SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = options.uri or f"sqlite:///{folder}/mlflow.db"
        from pipeline.cli.train import settings_of
        from pipeline.tracking.tracker import Tracker
        from pipeline.training.records import Records
        from pipeline.training.train import train

        meter(Tracker, "_work", "thread_cpu_s", time.thread_time)
        for method in ("__init__", "epoch", "close"):
            meter(Records, method, "waited_s", time.monotonic)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        run = train(options.manifest, Path(folder) / "run", epochs=options.epochs, settings=settings_of(options.set))
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
        epochs = len(run.history())
    print(json.dumps({**SPENT, "wall_s": wall_s, "cpu_s": cpu_s, "epochs": epochs}))
    share_cpu, share_wall = SPENT["thread_cpu_s"] / cpu_s, SPENT["waited_s"] / wall_s
    print(f"thread: {share_cpu:.2%} of the processor time; waited for it: {share_wall:.2%} of the time")
    return 0


def meter(of: Any, method: str, name: str, clock: Callable[[], float]) -> None:
    """Adds what each call of a method takes."""
    inner = getattr(of, method)

    def measured(*arguments: Any, **named: Any) -> Any:
        began = clock()
        try:
            return inner(*arguments, **named)
        finally:
            SPENT[name] += clock() - began

    setattr(of, method, measured)


if __name__ == "__main__":
    sys.exit(main())
