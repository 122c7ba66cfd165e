"""How much memory a training will take and how long its epochs will last, said before anything starts.

Measured on one or two cases (`probe.py`); what depends on all cases is worked out from their sizes in the manifest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.case_store import network_pixels
from ..data.manifest import Case, Manifest, write_manifest
from ..errors import UserError
from ..io.paths import write_text
from .chosen import flips_of, passes_after
from .experiment import Experiment, experiment_yaml
from .probed import REQUEST, RESULT, Probed, probed_from
from .schedule import AFTER_SHARE, CLOSING_S

TRACKING_BYTES = 80_000_000  # MLflow's client with its database open, and what draws the pictures; seen on Linux
TRACKING_S = 3.0  # until a run is open in the database
LARGE_VOXELS = 1 << 24  # of a case of which one is enough: two would take more time than the steps
SHAPES_TRIED, VALIDATED_VOXELS = 12, 1 << 20  # in validation: at most, and of all those cases together
MOST_SHAPES = 50  # for which torch keeps what it prepared: 1024 kernels, some 20 a network
SCORING_BYTES_PER_PIXEL = 6  # of a validated case beside its image: mask, prediction in parts and whole, comparisons


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a training will take. A GB is 10^9 bytes."""

    probed: Probed
    cases: int  # to preprocess
    validated: int  # of them
    start_s: float  # imports, preprocessing, opening the page: before the first step
    steps_per_epoch: int
    validation_s: float
    after_validations: int  # as many as are validated anew for what is chosen after the last epoch
    preprocessing_bytes: int  # of the process while it preprocesses the largest case
    training_bytes: int  # of the same process at its peak while it trains and validates

    @property
    def epoch_s(self) -> float:
        """Steps, validation and checkpoint."""
        return self.steps_per_epoch * self.probed.step_s + self.validation_s + self.probed.saving_s

    @property
    def peak_bytes(self) -> int:
        """Of all processes together, at the worst moment."""
        return max(self.preprocessing_bytes, self.training_bytes + self.probed.workers_bytes)

    def whole_s(self, epochs: int) -> float:
        """From the start of the command to its end, without a budget."""
        return self.start_s + epochs * self.epoch_s + CLOSING_S + (1 + self.after_validations) * self.validation_s

    def epochs_within(self, budget_s: float) -> float:
        """How many epochs a budget gives, less what `Clock` keeps for the end; below 0 where it is gone before the first."""
        after_s = min(self.after_validations * self.validation_s, AFTER_SHARE * budget_s)
        return (budget_s - self.start_s - CLOSING_S - 2 * self.validation_s - after_s) / self.epoch_s


def forecast(experiment: Experiment, manifest: Manifest, training: Sequence[Case], validation: Sequence[Case]) -> Forecast:
    """Train a few steps on one or two of the cases, in a process of its own, and work out the rest.

    Raises: UserError where the training would, or where this machine has not memory enough for a few steps.
    """
    judged = _of_many_shapes(validation)
    sample = _middle(training, 2)
    if _voxels(sample[0]) > LARGE_VOXELS:
        sample = sample[:1]
    probed = _probed(experiment, manifest, {"training": _names(sample), "validation": _names(judged)})
    everything = [*training, *validation]
    voxels = [_voxels(case) for case in everything]
    largest_probed = max(_voxels(case) for case in [*sample, *judged])
    taken = probed.preprocessing_bytes - probed.imported_bytes
    pixels = [network_pixels(case, experiment.preprocessing) for case in validation]
    rate = probed.validation_s / probed.validation_pixels if probed.validation_pixels else 0.0
    return Forecast(
        probed=probed,
        cases=len(everything),
        validated=len(validation),
        start_s=probed.imports_s + TRACKING_S + probed.preprocessing_s * sum(voxels) / probed.preprocessing_voxels,
        steps_per_epoch=experiment.steps_per_epoch,
        validation_s=rate * sum(pixels),
        after_validations=passes_after(flips_of(experiment, manifest.table)) if validation else 0,
        preprocessing_bytes=probed.imported_bytes + int(taken * max(1.0, max(voxels) / largest_probed)),
        training_bytes=TRACKING_BYTES + max(probed.step_bytes, probed.validation_bytes + _larger(validation, pixels, probed)),
    )


def _larger(validation: Sequence[Case], pixels: Sequence[float], probed: Probed) -> int:
    """Bytes that all validated cases take more than those that were: the largest of them, and all their shapes."""
    if not pixels:
        return 0
    image_bytes = 4 * max(len(case.image) for case in validation)
    larger = max(0.0, max(pixels) - probed.validation_pixels / probed.validated_shapes) * (
        image_bytes + SCORING_BYTES_PER_PIXEL
    )
    shapes = min(MOST_SHAPES, len({case.shape for case in validation}))
    return int(larger) + max(0, shapes - probed.validated_shapes) * probed.shape_bytes


def _voxels(case: Case) -> int:
    columns, rows, slices = case.shape
    return columns * rows * slices


def _of_many_shapes(cases: Sequence[Case]) -> list[Case]:
    """A case of middling size and, while they are small, others of other shapes."""
    chosen = _middle(cases, 1)
    for case in cases:
        small = sum(map(_voxels, [*chosen, case])) <= VALIDATED_VOXELS
        if small and len(chosen) < SHAPES_TRIED and case.shape not in [other.shape for other in chosen]:
            chosen.append(case)
    return chosen


def _middle(cases: Sequence[Case], number: int) -> list[Case]:
    """Up to so many cases of middling size."""
    ordered = sorted(cases, key=_voxels)
    start = max(0, (len(ordered) - number) // 2)
    return ordered[start : start + number]


def _names(cases: Sequence[Case]) -> list[str]:
    return [case.case for case in cases]


def _probed(experiment: Experiment, manifest: Manifest, request: dict[str, list[str]]) -> Probed:
    with tempfile.TemporaryDirectory(prefix="unet-plan-") as name:
        folder = Path(name)
        write_manifest(manifest, folder / "manifest.json")
        write_text(folder / "experiment.yaml", experiment_yaml(replace(experiment, manifest="manifest.json"), {}))
        write_text(folder / REQUEST, json.dumps(request))
        command = [sys.executable, "-m", f"{__package__}.probe", name]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _judge(done)
        return probed_from(json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _judge(done: subprocess.CompletedProcess[str]) -> None:
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == 2:
        raise UserError(last.rstrip("."))
    if done.returncode < 0 or "out of memory" in last.lower() or "not enough memory" in last.lower():
        what = "this machine has not memory enough for a few steps of the planned training"
        raise UserError(what, where="plan", next="Give --max-ram with what it has, e.g. --max-ram 8G.")
    if done.returncode:
        raise RuntimeError(f"the trial steps failed:\n{done.stderr}")
