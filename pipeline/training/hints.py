"""What a training's curves say, in words. Each rule has its thresholds here, and docs/train.md repeats them.

Judged are the mean training loss and the mean validation Dice of each epoch. "The end" is the last quarter of the epochs, at
least two, "before" are as many epochs before it: single epochs go up and down by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..evaluation.scores import mean_with_interval
from .outcome import Outcome

FEWEST_EPOCHS = 5  # the first, which is always steep, and twice two to compare
FEWEST_CASES = 3  # validated
FEW_PATIENTS = 10  # validated; with fewer a caution is added
NOTHING = 0.05  # mean Dice below which nothing was found
RISES = 0.01  # of Dice, from before the end to the end
LOST = 0.02  # of Dice, from the best epoch to the end
FALLS = 0.02  # share of the loss, from before the end to the end; less is no longer a fall
LEARNED_MORE = 0.05  # share of the loss, from the best epoch to the end
JUMPS = 0.05  # the same upwards: unsteady
GAP = 0.2  # of Dice, between training samples and validated cases
LOW = 0.7  # mean Dice below which a standstill is called underfitting

Kind = Literal[
    "nothing found", "too few epochs", "too few cases", "unsteady", "overfitting", "still rising", "underfitting", "plateau",
    "loss falls", "loss flat",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """A training as its epochs show it."""

    loss: Sequence[float]  # one an epoch
    dice: Sequence[float]  # the same epochs; empty: nothing was validated
    cases: int = 0  # validated
    training_dice: float | None = None  # on the training samples at the end, at least; None: the loss does not tell

    @property
    def tail(self) -> int:
        """Epochs of the end."""
        return max(2, len(self.loss) // 4)

    def change(self, values: Sequence[float]) -> tuple[float, float]:
        """Mean before the end, and at the end."""
        k = self.tail
        return sum(values[-2 * k : -k]) / k, sum(values[-k:]) / k

    @property
    def loss_change(self) -> float:
        """Share of the loss: -0.1 is a tenth less at the end than before."""
        before, end = self.change(self.loss)
        return (end - before) / before if before else 0.0

    @property
    def learned_since_best(self) -> float:
        """Share by which the loss fell from the best epoch to the end."""
        then = self.loss[max(range(len(self.dice)), key=self.dice.__getitem__)]
        return 1 - self.change(self.loss)[1] / then if then else 0.0


def curves_of(outcome: Outcome) -> Curves:
    """The epochs that have a loss and, where cases were validated, a Dice."""
    losses, dices = dict(outcome.points("train/loss")), dict(outcome.points("val/dice"))
    epochs = [epoch for epoch in losses if not outcome.results or epoch in dices]
    loss = [losses[epoch] for epoch in epochs]
    return Curves(
        loss=loss,
        dice=[dices[epoch] for epoch in epochs] if outcome.results else [],
        cases=len(outcome.results),
        training_dice=_training_dice(outcome, loss),
    )


def _training_dice(outcome: Outcome, losses: Sequence[float]) -> float | None:
    """What a loss with a Dice part says of the structures, a background in it taken as perfect: no more than the truth."""
    settings = outcome.experiment.loss
    if settings.name not in ("dice", "dice_focal") or settings.class_weights != "none" or not losses:
        return None
    structures = len(outcome.names)
    channels = structures + (outcome.experiment.network.head == "softmax" and settings.background)
    tail = losses[-max(2, len(losses) // 4) :]
    return max(0.0, 1 - sum(tail) / len(tail) * channels / structures)


def curve_hint(curves: Curves) -> Hint:
    """The first rule that holds."""
    epochs = len(curves.loss)
    if curves.dice and max(curves.dice) < NOTHING:
        return Hint(
            kind="nothing found", text=f"Nothing found: the best Dice of {epochs} epochs is {max(curves.dice):.3f}. See below."
        )
    if epochs < FEWEST_EPOCHS:
        text = f"Too few epochs to tell: {epochs}, and {FEWEST_EPOCHS} are needed to see where a curve goes."
        return Hint(kind="too few epochs", text=text)
    if not curves.dice:
        return _of_loss(curves)
    if curves.cases < FEWEST_CASES:
        text = f"Too few cases to tell: {curves.cases} validated, and chance moves the Dice of so few as much as learning does."
        return Hint(kind="too few cases", text=text)
    return _of_both(curves)


def _of_loss(curves: Curves) -> Hint:
    change = curves.loss_change
    blind = "How good it is on other patients, a loss cannot tell: no case was validated."
    if change > JUMPS:
        return Hint(kind="unsteady", text=f"Unsteady: the loss rose by {change:.0%} at the end. {blind}")
    if change < -FALLS:
        text = f"The loss still falls (by {-change:.0%} over the last {curves.tail} epochs). {blind}"
        return Hint(kind="loss falls", text=text)
    return Hint(kind="loss flat", text=f"The loss no longer falls (over the last {curves.tail} epochs). {blind}")


def _of_both(curves: Curves) -> Hint:
    loss, (before, end), best = curves.loss_change, curves.change(curves.dice), max(curves.dice)
    gain, learned = end - before, curves.learned_since_best
    moved = f"over the last {curves.tail} epochs Dice changed by {gain:+.3f} and the loss by {loss:+.0%}"
    if loss > JUMPS:
        return Hint(kind="unsteady", text=f"Unsteady: {moved}. A loss that rises points to too high a learning rate.")
    if best - end >= LOST and learned >= LEARNED_MORE:
        text = (
            f"Overfitting: since its best epoch Dice fell from {best:.3f} to {end:.3f}, while the loss fell by another "
            f"{learned:.0%}. The network learns the training cases by heart; the best epoch's weights are kept."
        )
        return Hint(kind="overfitting", text=text)
    if gain >= RISES:
        return Hint(kind="still rising", text=f"Still rising: {moved}. More epochs would bring more.")
    if curves.training_dice is not None and curves.training_dice - end >= GAP:
        text = (
            f"Overfitting: on the training samples the Dice is at least {curves.training_dice:.2f}, on the validated cases "
            f"{end:.2f}, and it no longer rises ({moved})."
        )
        return Hint(kind="overfitting", text=text)
    if end < LOW and loss >= -FALLS:
        text = (
            f"Underfitting: at a Dice of {end:.2f} neither curve moves any more ({moved}). The network is too small or too "
            "restrained for the task, or the masks disagree with each other."
        )
        return Hint(kind="underfitting", text=text)
    text = (
        f"Plateau: {moved}. More epochs alone would bring little. (Where the learning rate falls to 0, curves flatten at the "
        "end by design.)"
    )
    return Hint(kind="plateau", text=text)


def caution(outcome: Outcome) -> str:
    """How little the validated cases may say; empty where they are many."""
    if not outcome.results:
        return ""
    patients = [outcome.patients[result.case] for result in outcome.results]
    count = len(set(patients))
    if count >= FEW_PATIENTS:
        return ""
    head = f"Only {count} {'patient was' if count == 1 else 'patients were'} validated"
    result = mean_with_interval([result.dice for result in outcome.results], patients)
    if result.low is None or result.high is None:
        return f"{head}: how much Dice differs between patients is not known, and this one may be easy or hard."
    return f"{head}: with others the mean Dice may as well be {result.low:.2f} to {result.high:.2f} (95 % interval), or beyond."
