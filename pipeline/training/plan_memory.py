"""Make a planned training fit into a given memory: first fewer samples a step, then smaller ones, then a narrower network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from ..errors import UserError
from ..network.sizes import Design, input_side_for, output_side, steps
from .experiment import Experiment
from .forecast import TRACKING_BYTES, Forecast
from .plan import Plan
from .plan_data import ELASTIC_FRACTION
from .plan_network import WIDTHS

SMALLEST_OUTPUT = 64  # px a side of a sample's labels: less shows too little of the anatomy
SHRUNK = 0.75  # a side of the next smaller patch
PROCESS_BYTES = 700_000_000  # of the packages, before any step has been measured; seen on Linux
# The same, for every value of every layer: what is kept for the way back, gradients, room to work in.
BYTES_PER_VALUE = {"fp32": 13.0, "bf16": 7.0}
BYTES_PER_WEIGHT = 24  # weight, gradient, Adam's two moments, average, and room for one of them


def fit(plan: Plan, most_bytes: int, said: Collection[str], probe: Callable[[Experiment], Forecast]) -> tuple[Plan, Forecast]:
    """The largest of the plan's smaller relatives whose forecast fits, and its forecast.

    Args:
        said: settings that the user has chosen: they stay.
        probe: the forecast of an experiment.
    Raises: UserError where nothing fits, with what is needed at least.
    """
    relatives = [plan.experiment, *smaller(plan.experiment, said)]
    last = len(relatives) - 1
    at = next((i for i, e in enumerate(relatives) if guessed_bytes(e) <= most_bytes), last)
    tried: dict[int, Forecast] = {}
    while at not in tried:
        seen, made = relatives[at], probe(relatives[at])
        tried[at] = made
        first = 1 + max((i for i, f in tried.items() if f.peak_bytes > most_bytes), default=-1)
        left = range(first, len(relatives))
        at = next((i for i in left if rescaled_bytes(relatives[i], seen, made) <= most_bytes), last)
    good = [i for i, f in tried.items() if f.peak_bytes <= most_bytes]
    if not good:
        raise _too_little(tried[last], most_bytes)
    return _with_reasons(plan, relatives[min(good)], most_bytes), tried[min(good)]


def smaller(experiment: Experiment, said: Collection[str] = ()) -> Iterator[Experiment]:
    """One step down after another: batch size to 1, then the patch, then the width.

    Args:
        said: settings that stay.
    """
    e = experiment
    while e.batch_size > 1 and "batch_size" not in said:
        e = replace(e, batch_size=e.batch_size // 2)
        yield e
    while "patch" not in said and (patch := _smaller_patch(e)) != e.patch:
        elastic_px = e.augmentation.elastic_px
        if "augmentation.elastic_px" not in said:
            elastic_px = round(max(patch) * ELASTIC_FRACTION, 2)
        e = replace(e, patch=patch, augmentation=replace(e.augmentation, elastic_px=elastic_px))
        yield e
    for width in WIDTHS:
        if width < e.network.width and "network.width" not in said:
            e = replace(e, network=replace(e.network, width=width))
            yield e


def guessed_bytes(experiment: Experiment) -> float:
    """What a training may take, from the sizes of its network alone."""
    weights, values = _sizes(experiment)
    return PROCESS_BYTES + BYTES_PER_WEIGHT * weights + BYTES_PER_VALUE[experiment.precision] * values


def rescaled_bytes(experiment: Experiment, seen: Experiment, forecast: Forecast) -> float:
    """What a training may take, from the forecast of another one on the same data."""
    weights, values = _sizes(experiment)
    seen_weights, seen_values = _sizes(seen)
    always = forecast.probed.imported_bytes + TRACKING_BYTES + forecast.probed.workers_bytes
    beyond = max(0.0, forecast.training_bytes + forecast.probed.workers_bytes - always - BYTES_PER_WEIGHT * seen_weights)
    return max(forecast.preprocessing_bytes, always + BYTES_PER_WEIGHT * weights + beyond * values / seen_values)


def _sizes(experiment: Experiment) -> tuple[int, float]:
    """Number of weights, and of values in all layers for one batch."""
    n = experiment.network
    design = Design(width=n.width, depth=n.depth, padding=n.padding, normalization=n.normalization == "batch")
    side, shorter = max(experiment.patch), min(experiment.patch)
    values = sum(step.channels * step.side**2 for step in steps(design, side))
    return design.parameters, values * shorter / side * experiment.batch_size


def _smaller_patch(experiment: Experiment) -> tuple[int, int]:
    """The next smaller legal patch; the same where it is small already."""
    network = experiment.network
    design = Design(width=network.width, depth=network.depth, padding=network.padding)

    def shrunk(side: int) -> int:
        wanted = max(SMALLEST_OUTPUT, int(output_side(design, side) * SHRUNK))
        return min(side, input_side_for(design, wanted))

    rows, columns = experiment.patch
    return shrunk(rows), shrunk(columns)


def _with_reasons(plan: Plan, experiment: Experiment, most_bytes: int) -> Plan:
    before, reasons = plan.experiment, dict(plan.reasons)
    limit = f"{most_bytes / 1e9:g} GB"
    if experiment.batch_size != before.batch_size:
        reasons["batch_size"] = f"{before.batch_size} do not fit into {limit}"
    if experiment.patch != before.patch:
        reasons["patch"] = f"{' x '.join(map(str, before.patch))} px do not fit into {limit}, one at a time"
    if experiment.network.width != before.network.width:
        reasons["network.width"] = f"{before.network.width} do not fit into {limit}, with the smallest patch"
    return Plan(experiment=experiment, reasons=reasons)


def _too_little(forecast: Forecast, most_bytes: int) -> UserError:
    needed_gb = -(-forecast.peak_bytes // 10**8) / 10
    what = f"the smallest training of this kind needs {needed_gb:.1f} GB, more than {most_bytes / 1e9:g} GB"
    if forecast.preprocessing_bytes == forecast.peak_bytes:
        what += " (to preprocess the largest case)"
    return UserError(what, where="--max-ram", next=f"Give --max-ram {needed_gb:.1f}G where the machine has it.")
