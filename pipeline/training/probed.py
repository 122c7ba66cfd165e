"""What a probe of a training measured, and the files by which it is asked and answers. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REQUEST, RESULT = "probe.json", "probed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was measured. Bytes are the most that the process held in memory during that part, all it held before included."""

    imports_s: float  # from the start of the process until everything is imported
    imported_bytes: int
    preprocessing_s: float  # of one case
    preprocessing_voxels: int  # of that case, as its files hold it
    preprocessing_bytes: int
    waiting_bytes: int  # before the first step: packages and weights
    step_s: float  # median, while samples are prepared as in a training
    steps: int  # timed
    step_bytes: int
    workers_bytes: int  # of the processes that prepare samples: what they do not share with the training
    saving_s: float  # of a checkpoint
    validation_s: float
    validation_pixels: int  # 0: nothing is validated
    validation_bytes: int
    validated_shapes: int  # cases of different shapes that were validated
    shape_bytes: int  # that each shape but the first added, and that stays: torch keeps what it prepared for it
    gpu_bytes: int  # 0 without one


def probed_from(facts: Mapping[str, float]) -> Probed:
    """From plain numbers."""
    return Probed(**{name: float(v) if name.endswith("_s") else int(v) for name, v in facts.items()})  # type: ignore[arg-type]
