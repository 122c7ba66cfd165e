"""What a training chooses after its last epoch, on its validation cases: post-processing, a temperature, what flips bring.

The network sees each case once, and once more mirrored where it was trained on mirror images. Masks lie in files meanwhile,
pixels for the temperature are a bounded sample: the memory is that of one case.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.case_store import StoredCase
from ..data.postprocess import Postprocessing, Steps, postprocess, to_json
from ..io.geometry import voxel_ml
from ..io.paths import write_text
from ..network.mirrored import Flips, Mirrored
from ..network.tiling import WholeSlice
from ..progress import say
from .calibrate import MOST_OF_A_CASE, MOST_PIXELS, Calibration, PixelSample, calibrate
from .choose_steps import Looked, Trial, choose, look, without
from .chosen import flips_of, passes_after
from .run_folder import RunFolder
from .schedule import Clock
from .validation import CaseScores, Validator, metrics

SCRATCH = ".predicted.part"  # in the cache, which forgets such a folder when it finds one


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The validation cases as the network sees them."""

    looked: list[Looked]
    plain: list[CaseScores]  # without post-processing
    masks: list[Path]
    calibration: Calibration | None  # None: no structure anywhere, neither true nor found
    network_s: float  # for all cases


def keep_time(clock: Clock, validator: Validator, flips: Flips, *, processes: int = 1) -> None:
    """Makes the clock keep the time for `finish_run`: passes of the network, and the work on labels, measured on one case.

    Args:
        processes: how many share a validation; the choice is one process' work.
    """
    if clock.budget_s is None or not validator.cases:
        return
    first = validator.cases[0]
    started = time.monotonic()
    label = np.asarray(first.label)
    look(label, label, validator.table, patient="", voxel_ml=1.0)
    one_s = time.monotonic() - started
    labels_s = 2 * one_s * sum(case.label.size for case in validator.cases) / label.size  # to choose, and to apply
    clock.keep_for_after(validations=passes_after(flips) * processes, more_s=labels_s)


def finish_run(folder: RunFolder, validator: Validator, whole: WholeSlice, clock: Clock, *, processes: int = 1) -> None:
    """Choose on the validation cases and write `chosen.json`; say what came of it. What the time does not allow is left out.

    Args:
        whole: the network with its best weights.
        processes: as in `keep_time`.
    """
    if not validator.cases:
        return
    needed_s = clock.validation_s * processes
    if clock.left_for_after_s() < needed_s:
        say(f"unet: no time is left to choose post-processing and temperature ({needed_s:.0f} s)")
        return
    scratch = folder.cache / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        started = time.monotonic()
        seen = _see(validator, whole, scratch)
        chosen, trials, after = _choose(folder, validator, seen)
        chosen_s = time.monotonic() - started
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    flips = flips_of(folder.experiment(), validator.table)
    mirror_images = _measure_flips(validator, whole, flips, seen, clock) if flips else None
    facts = {
        "epoch": folder.facts().get("best_epoch"),
        "cases": len(validator.cases),
        "grid": "as the network sees it",
        "postprocessing": to_json(chosen),
        "dice": {"without": _dices(seen.plain, validator), "with": _dices(after, validator)},
        "tried": [trial.to_json() for trial in trials],
        "calibration": seen.calibration.to_json() if seen.calibration else {"temperature": 1.0, "pixels": 0},
        "flips": mirror_images,
        "seconds": round(chosen_s, 2),
    }
    write_text(folder.chosen, json.dumps(facts, indent=1) + "\n")
    _say(facts, chosen)


def _see(validator: Validator, whole: WholeSlice, scratch: Path) -> Seen:
    """One pass of the network over all cases."""
    most = max(1, min(MOST_OF_A_CASE, MOST_PIXELS // len(validator.cases)))
    looked, plain, masks, samples, network_s = [], [], [], [], 0.0
    for number, case in enumerate(validator.cases):
        sample, parts, at = PixelSample(most, seed=number), [], 0
        label = np.array(case.label)  # not the read-only file
        started = time.monotonic()
        for scores, found in validator.slices(whole, case):
            parts.append(found.cpu().numpy())
            network_s += time.monotonic() - started
            sample.add(scores, torch.from_numpy(label[at : at + len(found)]).to(found.device), found)
            at += len(found)
            started = time.monotonic()
        predicted = np.concatenate(parts)
        looked.append(look(label, predicted, validator.table, patient=case.patient_id, voxel_ml=voxel_ml(case.affine)))
        plain.append(validator.judge(case, predicted))
        masks.append(scratch / f"{number}.npy")
        np.save(masks[-1], predicted)
        samples.append(sample.take())
    return Seen(looked=looked, plain=plain, masks=masks, calibration=_calibration(samples, validator), network_s=network_s)


def _calibration(samples: Sequence[tuple[np.ndarray, np.ndarray]], validator: Validator) -> Calibration | None:
    scores, truth = (np.concatenate(part) for part in zip(*samples, strict=True))
    return calibrate(scores, truth, validator.head) if len(scores) else None


def _choose(folder: RunFolder, validator: Validator, seen: Seen) -> tuple[dict[str, Steps], list[Trial], list[CaseScores]]:
    """The steps, all that were tried, and the scores with the steps.

    Steps are tried one by one; applied together, those of one structure can meet those of another. Where a structure is not
    better off in the end, its steps are dropped.
    """
    chosen, trials = choose(seen.looked, validator.table, known_ml=all(case.spacing_known for case in folder.manifest().cases))
    plain = _dices(seen.plain, validator)
    while chosen:
        after = [_applied(validator, case, chosen, mask) for case, mask in zip(validator.cases, seen.masks, strict=True)]
        dices = _dices(after, validator)
        worse = {name for name in chosen if dices.get(name, 1.0) <= plain.get(name, 0.0)}
        if not worse:
            return chosen, trials, after
        chosen = without(chosen, worse)
    return {}, trials, seen.plain


def _applied(validator: Validator, case: StoredCase, chosen: Postprocessing, mask: Path) -> CaseScores:
    predicted = np.load(mask)
    across = np.moveaxis(predicted, 1, -1) if validator.table.overlapping else predicted
    done = postprocess(across, validator.indices, chosen, voxel_ml(case.affine))
    return validator.judge(case, np.moveaxis(done, -1, 1) if validator.table.overlapping else done)


def _measure_flips(validator: Validator, whole: WholeSlice, flips: Flips, seen: Seen, clock: Clock) -> dict[str, Any] | None:
    """Dice and seconds a case with mirror images and without, both without post-processing."""
    needed_s = 2 ** len(flips) * seen.network_s
    if clock.left_for_after_s() < needed_s:
        say(f"unet: no time is left to measure what mirror images bring ({needed_s:.0f} s)")
        return None
    network = Mirrored(whole, flips, validator.head)
    started = time.monotonic()
    results = [validator.judge(case, validator.predict(network, case)) for case in validator.cases]
    cases = len(validator.cases)
    return {
        "axes": list(flips),
        "dice": {"without": _dices(seen.plain, validator), "with": _dices(results, validator)},
        "s_per_case": {"without": seen.network_s / cases, "with": (time.monotonic() - started) / cases},
    }


def _dices(results: Sequence[CaseScores], validator: Validator) -> dict[str, float]:
    """Structure → mean Dice, and "mean" over the structures; what is nowhere is left out."""
    flat = metrics(results, validator.table)
    named = {name: flat[f"val/dice/{name}"] for name in validator.table.names if f"val/dice/{name}" in flat}
    return named | ({"mean": flat["val/dice"]} if named else {})


def _say(facts: Mapping[str, Any], chosen: Postprocessing) -> None:
    steps = "; ".join(f"{name}: {steps}" for name, steps in chosen.items()) or "none helps"
    dice, calibration = facts["dice"], facts["calibration"]
    better = f", Dice {dice['without']['mean']:.4f} to {dice['with']['mean']:.4f}" if chosen else ""
    say(f"unet: post-processing {steps}{better} ({facts['seconds']:.1f} s)")
    if "ece_before" in calibration:
        error = f"calibration error {calibration['ece_before']:.4f} to {calibration['ece_after']:.4f}"
        say(f"unet: temperature {calibration['temperature']:.3f}, {error}")
    flips = facts["flips"]
    if flips and flips["dice"]["without"]:
        dice, seconds = flips["dice"], flips["s_per_case"]
        cost = f"{seconds['without']:.2f} to {seconds['with']:.2f} s a case"
        say(f"unet: with --flips Dice {dice['without']['mean']:.4f} to {dice['with']['mean']:.4f}, {cost}")
