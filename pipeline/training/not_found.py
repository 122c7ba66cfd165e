"""Structures that a training did not find, and what may be behind it, by what the run shows. Suggests nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .hints import NOTHING
from .outcome import Outcome

RARE = 0.001  # share of the pixels below which a structure is rare
FEW_STEPS = 500  # a small structure is learned last
USUAL_RATE = {"batch": 1e-3, "none": 3e-4}  # learning rates that go well, by normalization


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """One structure with a Dice near 0, and the usual causes that the run's numbers do not rule out."""

    structure: str
    dice: float
    marked: float  # pixels that were marked, for each pixel of the truth
    share: float  # of the structure, of all pixels of the validated cases
    causes: tuple[str, ...]


def not_found(outcome: Outcome) -> list[NotFound]:
    """The structures that the validated cases hold and whose mean Dice is near 0."""
    counts, found = outcome.counts, []
    for position, name in enumerate(outcome.names):
        dice = outcome.dice(name).value
        tp, fp, fn, tn = (int(part[position]) for part in (counts.tp, counts.fp, counts.fn, counts.tn))
        if dice is None or dice >= NOTHING or tp + fn == 0:
            continue
        marked, share = (tp + fp) / (tp + fn), (tp + fn) / (tp + fp + fn + tn)
        causes = (_what_is_marked(marked), *_causes(outcome, share))
        found.append(NotFound(structure=name, dice=dice, marked=marked, share=share, causes=causes))
    return found


def too_fast(outcome: Outcome) -> bool:
    """Whether the learning rate is higher than goes well, or steps had to be skipped."""
    rate, usual = outcome.experiment.learning_rate, USUAL_RATE[outcome.experiment.network.normalization]
    return (outcome.experiment.optimizer == "adamw" and rate > usual) or skipped_steps(outcome) > 0


def skipped_steps(outcome: Outcome) -> int:
    return int(sum(value for _, value in outcome.points("train/skipped_steps")))


def _what_is_marked(marked: float) -> str:
    if marked == 0:
        return "no pixel is marked as this structure"
    return (
        f"{marked:.2g} times as many pixels are marked as there are, but elsewhere: masks that do not lie on their images, "
        "values that mean another structure, or swapped sides"
    )


def _causes(outcome: Outcome, share: float) -> list[str]:
    experiment, causes = outcome.experiment, []
    if share < RARE:
        causes.append(f"it is rare ({share:.2g} of the pixels), and a network that never marks it is nearly always right")
    if too_fast(outcome):
        usual = USUAL_RATE[experiment.network.normalization]
        skipped = f", and {skipped_steps(outcome)} steps were skipped" if skipped_steps(outcome) else ""
        causes.append(f"the learning rate ({experiment.learning_rate:g}; {usual:g} goes well) is too high{skipped}")
    steps = len(outcome.history) * experiment.steps_per_epoch
    if steps < FEW_STEPS:
        causes.append(f"{steps} steps are few: small structures are learned last")
    if outcome.narrow:
        causes.append(
            f"the slices of {outcome.narrow} of {len(outcome.results)} validated cases are narrower than the patch "
            f"({experiment.patch[0]} x {experiment.patch[1]}): with padding: same, training sees mirrored surroundings there, "
            "and prediction sees zeros"
        )
    return [*causes, "the values in the masks are not those of the label table, or masks lie elsewhere than their images"]
