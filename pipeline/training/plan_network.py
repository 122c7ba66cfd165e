"""The part of a plan that follows from slices, time and machine: padding, patch, batch, width, precision. Knows no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..network.precision import Floats, has_native_bf16
from ..network.sizes import Design, Padding, flops, input_side_for, output_side
from ..network.speed import training_flops_per_s

STEPS_WANTED = 3000  # a network that sees fewer batches within the budget is too wide for it
WIDTHS = (64, 48, 32, 24, 16)  # a narrower network than the last learns too little to be worth a step
PIXELS_PER_BATCH = 1 << 17  # fills two cores; more per step means fewer steps per minute
LONG_BUDGET_S = 3600.0  # above which the paper's tile is worth its cost; the time assumed where none is given
OUTPUT_LONG, OUTPUT_SHORT = 388, 196  # px of output a sample: the paper's, and one that gives more steps
LARGEST_SAME, SMALLEST_SAME = 256, 32  # px a side of a zero-padded patch
DEEPEST = 4  # poolings, the paper's
SMALLEST_MAP = 5  # px of the deepest map's shorter side: half the time of one pooling more, and no worse (hippocampus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What will train, and for how long."""

    budget_s: float | None  # None: no limit
    on_gpu: bool

    @property
    def precision(self) -> Floats:
        return "bf16" if has_native_bf16("cuda" if self.on_gpu else "cpu") else "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Padding and what goes through the network at once."""

    padding: Padding
    depth: int  # poolings
    patch: tuple[int, int]  # rows, columns of the input
    batch_size: int


def plan_patches(rows: int, columns: int, machine: Machine, said: Mapping[str, object], reasons: dict[str, str]) -> Patches:
    """Padding, poolings, patch and batch size for slices of so many pixels.

    Args:
        said: settings that the user has chosen, by dotted name; the others follow from them.
    """
    valid = Design()
    padding: Padding = "same" if min(rows, columns) < 2 * valid.border else "valid"
    chosen = said.get("network.padding")
    if chosen in ("same", "valid"):
        padding = "same" if chosen == "same" else "valid"
    else:
        small = f"slices of {columns} x {rows} px are smaller than the {2 * valid.border} px that valid ones lose"
        reasons["network.padding"] = "the paper's" if padding == "valid" else small
    depth = said.get("network.depth")
    depth = depth if isinstance(depth, int) and 1 <= depth <= 6 else None
    if padding == "same":
        return _same(rows, columns, depth, reasons)
    return _valid(rows, columns, DEEPEST if depth is None else depth, machine, reasons)


def _same(rows: int, columns: int, said: int | None, reasons: dict[str, str]) -> Patches:
    sides = [min(LARGEST_SAME, max(side, SMALLEST_SAME)) for side in (rows, columns)]

    def patch(depth: int) -> tuple[int, int]:
        height, width = (-(-side // 2**depth) * 2**depth for side in sides)
        return height, width

    depth = next((d for d in range(DEEPEST, 1, -1) if min(patch(d)) >= SMALLEST_MAP * 2**d), 1) if said is None else said
    if depth < DEEPEST and said is None:
        reasons["network.depth"] = f"as many poolings as leave {SMALLEST_MAP} px of the shorter side; {DEEPEST} in the paper"
    height, width = patch(depth)
    batch = int(np.clip(PIXELS_PER_BATCH // (height * width), 2, 32))
    reasons["patch"] = "whole slices" if max(rows, columns) <= LARGEST_SAME else f"at most {LARGEST_SAME} px a side"
    reasons["batch_size"] = f"about {PIXELS_PER_BATCH} px a step, 2 to 32 samples"
    return Patches(padding="same", depth=depth, patch=(height, width), batch_size=batch)


def _valid(rows: int, columns: int, depth: int, machine: Machine, reasons: dict[str, str]) -> Patches:
    design = Design(depth=depth)
    # a smaller tile gives more steps, and wastes more of each on the border
    largest = OUTPUT_LONG if machine.budget_s is None or machine.budget_s > LONG_BUDGET_S else OUTPUT_SHORT
    height, width = (input_side_for(design, min(largest, side)) for side in (rows, columns))
    reasons["patch"] = f"{' x '.join(str(output_side(design, s)) for s in (height, width))} px of output a sample"
    reasons["batch_size"] = "few, since a sample is large"
    return Patches(padding="valid", depth=depth, patch=(height, width), batch_size=2 if max(height, width) < 500 else 1)


def plan_width(patches: Patches, machine: Machine, reasons: dict[str, str]) -> int:
    """Channels of the first level: on a CPU, as many as leave time for enough steps."""
    if machine.on_gpu:
        reasons["network.width"] = "the paper's"
        return WIDTHS[0]
    speed = training_flops_per_s(machine.precision)
    allowed_s = (machine.budget_s or LONG_BUDGET_S) * 0.7 / STEPS_WANTED
    side, shorter = max(patches.patch), min(patches.patch)

    def step_s(width: int) -> float:
        one = 3 * flops(Design(width=width, depth=patches.depth, padding=patches.padding), side) * (shorter / side)
        return one * patches.batch_size / speed

    width = next((width for width in WIDTHS if step_s(width) <= allowed_s), WIDTHS[-1])
    each = f"{step_s(width):.2g} s each, by the {speed / 1e9:.0f} GFLOP/s of this machine"
    reasons["network.width"] = f"64 in the paper; the widest with {STEPS_WANTED} steps in the time ({each})"
    return width
