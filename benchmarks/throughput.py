"""How fast are training steps of the full-width original U-Net on 256 x 256 slices, samples included?

    python benchmarks/throughput.py [--rounds 5] [--batch 2] [-o throughput.json]

Three take turns, a few steps each, so that a busy moment of the machine meets all of them:
    plain    fp32, PyTorch's usual layout, one fixed batch, no samples to wait for
    network  our training step (bf16 where the machine has it, channels-last, averaged weights) on one fixed batch
    whole    our training step with our loader: reading, patches, every distortion of a plan, in a process of its own
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SHAPE = (256, 256, 12)
STEPS = 3  # a turn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contestants = built(write_scans(Path(folder)), Path(folder), options)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for step in contestants.values():
            step()  # memory, and the kernels of these sizes
        for _ in range(options.rounds):
            for name, step in contestants.items():
                for _ in range(STEPS):
                    began = time.perf_counter()
                    step()
                    times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, seconds in medians.items():
        print(f"{name:<8} {seconds:.3f} s a step, {options.batch / seconds:.2f} samples/s")
    faster, share = medians["plain"] / medians["whole"], medians["network"] / medians["whole"]
    print(f"whole against plain: {faster:.2f} times as fast; of the network's own rate: {share:.2f}")
    if options.out:
        options.out.write_text(json.dumps({"medians_s": medians, "times_s": times}, indent=1) + "\n", encoding="utf-8")
    return 0


def write_scans(folder: Path) -> Path:
    """Four scans of noise with a disc in them. Returns: their manifest."""
    from pipeline.cli.main import main as unet

    row, column, _ = np.indices(SHAPE)
    for number in range(4):
        random = np.random.default_rng(number)
        disc = np.hypot(row - random.uniform(80, 170), column - random.uniform(80, 170)) < 40
        for part, array in (("imagesTr", random.normal(0, 50, SHAPE) + 200 * disc), ("labelsTr", disc)):
            (folder / "scans" / part).mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(array.astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0]))
            nibabel.save(image, folder / "scans" / part / f"scan_{number}.nii.gz")
    manifest = folder / "scans.json"
    if unet(["manifest", str(folder / "scans"), "--labels", "disc=1", "--folds", "2", "-o", str(manifest)]):
        raise SystemExit("the made-up scans were refused")
    return manifest


def built(manifest_file: Path, folder: Path, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    import torch

    from pipeline.data.case_store import store_cases
    from pipeline.training.learner import Learner
    from pipeline.training.loss import dice_focal_loss
    from pipeline.training.memory import keep_freed_memory
    from pipeline.training.open_experiment import open_experiment
    from pipeline.training.samples import training_loader

    patch = {"network.width": 64, "network.padding": "same", "patch": [256, 256], "batch_size": options.batch}
    settings = {**patch, "preprocessing.neighbours": 0, "compile": options.compile}
    experiment, manifest, _ = open_experiment(manifest_file, None, 3600.0, None, settings)
    cases = store_cases(manifest, manifest.cases, experiment.preprocessing, folder / "cache")
    keep_freed_memory()
    torch.manual_seed(0)
    device = torch.device("cpu")
    loader = iter(training_loader(experiment, manifest.table, cases, 0))
    batch = next(loader)
    learner = Learner(experiment, manifest.table, 1, device)
    trainer = _trainer(learner, experiment)

    def ours(data: Any) -> None:
        trainer.run([data], max_epochs=1, epoch_length=1)

    plain = Learner(experiment, manifest.table, 1, device).network.to(memory_format=torch.contiguous_format)
    optimizer, loss = torch.optim.AdamW(plain.parameters(), lr=1e-3), dice_focal_loss("softmax")

    def plainly() -> None:
        optimizer.zero_grad()
        loss(plain(batch["image"]), batch["label"]).backward()
        optimizer.step()

    return {"plain": plainly, "network": lambda: ours(batch), "whole": lambda: ours(next(loader))}


def _trainer(learner: Any, experiment: Any) -> Any:
    from ignite.engine import Events

    trainer = learner.trainer(experiment)
    if learner.average:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, learner.average)
    return trainer


if __name__ == "__main__":
    sys.exit(main())
