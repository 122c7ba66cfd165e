"""Choose an experiment for a data set and a budget, each choice with its reason. Every value can be edited afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..data.fingerprint import fingerprint
from ..data.manifest import Case, Manifest
from .experiment import Experiment, NetworkSettings
from .plan_data import plan_augmentation, plan_preprocessing
from .plan_network import Machine, plan_patches, plan_width
from .schedule import Shape

LEARNING_RATE = 1e-3  # goes well with batch normalisation
EMA = 0.999  # a memory of a thousand steps, of a ninth of them where fewer than ten thousand are trained
SCHEDULE: Shape = "cosine"  # ends flat at 0 with the budget or the epochs
DROPOUT = 0.1
STEPS_PER_EPOCH = (100, 250)  # fewest and most between two validations


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An experiment, and why: setting ("network.padding") → reason."""

    experiment: Experiment
    reasons: dict[str, str] = field(default_factory=dict)


def plan(
    manifest: Manifest,
    cases: Sequence[Case],
    *,
    budget_s: float | None,
    on_gpu: bool,
    said: Mapping[str, object] | None = None,
) -> Plan:
    """The experiment for these training cases; some of them, spread over the list, are read.

    Args:
        budget_s: wall-clock seconds of the training, None: no limit.
        on_gpu: a CUDA device will train.
        said: settings that the user has chosen, by dotted name. Plane, pixel size, padding and depth decide what others are;
            all of them must still be put over the plan.
    Raises: UserError for a case that cannot be read.
    """
    said, machine = said or {}, Machine(budget_s=budget_s, on_gpu=on_gpu)
    seen = fingerprint(manifest, cases)
    reasons = {"manifest": seen.text(), **_always(machine)}
    preprocessing = plan_preprocessing(seen, said, reasons)
    grids = [case.grid(preprocessing) for case in seen.read]
    rows, columns = (int(np.percentile(sides, 95)) for sides in ([g.rows for g in grids], [g.columns for g in grids]))
    patches = plan_patches(rows, columns, machine, said, reasons)
    slices = float(np.mean([grid.slices for grid in grids])) * len(cases)
    overlapping, structures = manifest.table.overlapping, len(manifest.table.structures)
    reasons["network.head"] = f"{structures} overlapping structures" if overlapping else "a pixel has one class"
    head: Literal["softmax", "sigmoid"] = "sigmoid" if overlapping else "softmax"
    width = plan_width(patches, machine, reasons)
    experiment = Experiment(
        name=manifest.name,
        network=NetworkSettings(
            width=width, depth=patches.depth, padding=patches.padding, normalization="batch", dropout=DROPOUT, head=head
        ),
        preprocessing=preprocessing,
        augmentation=plan_augmentation(cases, manifest.table, preprocessing.normalisation, patches.patch, reasons),
        patch=patches.patch,
        batch_size=patches.batch_size,
        steps_per_epoch=int(np.clip(slices // patches.batch_size, *STEPS_PER_EPOCH)),
        learning_rate=LEARNING_RATE,
        schedule=SCHEDULE,
        ema=EMA,
        precision=machine.precision,
    )
    return Plan(experiment=experiment, reasons=reasons)


def _always(machine: Machine) -> dict[str, str]:
    """Why the settings are as they are that do not depend on the data."""
    fewest, most = STEPS_PER_EPOCH
    native = machine.precision == "bf16"
    return {
        "network.normalization": "trains faster than the paper's none, and stays exact under tiling",
        "network.dropout": "0.5 in the paper, for ten hours of training",
        "steps_per_epoch": f"about once through all slices, {fewest} to {most} steps between validations",
        "learning_rate": "with batch normalisation; without it, 3e-4",
        "schedule": "flat at its end, which the budget or the epochs set",
        "ema": "averaged weights are steadier than those of the last step; 0 in the paper",
        "precision": "this machine computes bfloat16 natively" if native else "no native bfloat16 here",
    }
