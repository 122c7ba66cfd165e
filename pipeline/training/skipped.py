"""Steps whose loss or gradients are not finite: skipped with a word, counted, and the end where they repeat."""

from __future__ import annotations

from ignite.engine import Engine

from ..errors import UserError
from ..progress import say

MOST_IN_EPOCH = 5  # single ones happen in half precision; more of them is a training that falls apart


class SkippedSteps:
    """Judges each step of one training.

    The rule: a step that is not finite is skipped. Two in a row, or more than five in one epoch, end the training.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self.in_epoch = 0
        self.epoch = 0

    def judge(self, engine: Engine, *, finite: bool) -> None:
        """Called in every step. Raises: UserError by the rule above."""
        if self.epoch != engine.state.epoch:
            self.epoch, self.in_epoch = engine.state.epoch, 0
        if finite:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self.in_epoch += 1
        step = engine.state.iteration
        if self.in_a_row > 1:
            raise not_finite(f"the loss or its gradients are not finite, twice in a row at step {step}")
        if self.in_epoch > MOST_IN_EPOCH:
            raise not_finite(f"the loss or its gradients are not finite in {self.in_epoch} steps of one epoch, last at {step}")
        say(f"unet: the loss of step {step} or its gradients are not finite: step skipped")


def not_finite(what: str) -> UserError:
    """The end of a training that has no numbers any more."""
    advice = "Train again with a lower learning_rate, or with precision: fp32; the checkpoint of the epoch before stays."
    return UserError(what, where="training", next=advice)
