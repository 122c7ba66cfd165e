"""The learning rate as a pure function of how much of the training is done, and the clock that says how much."""

from __future__ import annotations

import math
import re
import time
from typing import Literal

from ..errors import UserError

Shape = Literal["poly", "cosine"]

CLOSING_S = 8.0  # checkpoint, page and the last words to MLflow
AFTER_SHARE = 0.1  # of the budget, at most, for what is chosen after the last epoch
DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)
POWER = 0.9  # of the polynomial decay (Chen et al., arXiv:1606.00915)


def learning_rate(base: float, done_fraction: float, *, warm_up_fraction: float, shape: Shape) -> float:
    """Linear warm-up from a tenth of the highest rate, then a decay to 0.

    Args:
        base: the highest rate.
        done_fraction: 0 at the start of the training, 1 at its end.
        warm_up_fraction: of the training, 0 to below 1; 0: the first step has the highest rate.
        shape: "poly": the share that is left to the power 0.9; "cosine": half a wave, flat at both ends.
    Source: Chen et al., arXiv:1606.00915 (poly); Loshchilov and Hutter, arXiv:1608.03983 (cosine).
    """
    if done_fraction < warm_up_fraction:
        return base * (0.1 + 0.9 * done_fraction / warm_up_fraction)
    left = max(0.0, 1.0 - (done_fraction - warm_up_fraction) / (1.0 - warm_up_fraction))
    return base * (0.5 - 0.5 * math.cos(math.pi * left) if shape == "cosine" else float(left**POWER))


class Clock:
    """How much of a training is done: by time where a budget is set, else by epochs.

    Args:
        budget_s: seconds for everything, or None.
        began_s: the moment of `time.monotonic` from which this process' part counts.
        used_s: seconds that earlier processes of this run have used.
        start_s: how many were used when the run's very first step began; None where it is still to come.
    """

    def __init__(
        self, *, epochs: int, budget_s: float | None, began_s: float, used_s: float = 0.0, start_s: float | None = None
    ) -> None:
        self.epochs = epochs
        self.budget_s = budget_s
        self.began_s = began_s
        self.used_before_s = used_s
        self.start_s = start_s
        self.resumed_s = used_s
        self.reserve_s = CLOSING_S  # for the last validation and the files behind it
        self.validation_s = 0.0  # what the last one took
        self.after_validations, self.after_s = 0, 0.0

    def used_s(self) -> float:
        """Seconds of the budget that are gone, over all processes of this run."""
        return self.used_before_s + time.monotonic() - self.began_s

    def start(self) -> None:
        """The first step of this process begins. The schedule runs from the first step of the run, with no jump at a resume."""
        self.resumed_s = self.used_s()
        if self.start_s is None:
            self.start_s = self.resumed_s

    def learn_reserve(self, validation_s: float) -> None:
        """The end of a training costs one more validation, pictures of three cases, and the choices after it: keep the time."""
        self.validation_s = validation_s
        after_s = self.after_validations * validation_s + self.after_s
        self.reserve_s = CLOSING_S + 2 * validation_s + min(after_s, AFTER_SHARE * (self.budget_s or 0.0))

    def keep_for_after(self, *, validations: int, more_s: float) -> None:
        """What the choices after the last epoch cost: so many validations, and seconds beside. Counts from the next reserve."""
        self.after_validations, self.after_s = validations, more_s

    def left_for_after_s(self) -> float:
        """Seconds that these choices may still take: what the files and pictures leave; infinite without a budget."""
        if self.budget_s is None:
            return float("inf")
        return self.budget_s - CLOSING_S - self.validation_s - self.used_s()

    def left_s(self) -> float:
        """Seconds that may still be trained; infinite without a budget."""
        return float("inf") if self.budget_s is None else self.budget_s - self.reserve_s - self.used_s()

    def expected_s(self, epochs_here: int, epochs_to_go: int) -> float:
        """Seconds to the end: of the budget, or as the epochs of this process took."""
        if self.budget_s is not None:
            return max(0.0, self.left_s())
        return (self.used_s() - self.resumed_s) / max(1, epochs_here) * epochs_to_go

    def check(self) -> None:
        """Raises: UserError where the budget is gone before the first step."""
        if self.left_s() <= 0:
            raise UserError(
                f"the time budget of {self.budget_s:.0f} s is used up before the first step: {self.used_s():.0f} s are gone, "
                f"and {self.reserve_s:.0f} s must be left for scores and files",
                where="--time-budget",
                next="Give more time.",
            )

    def done_fraction(self, steps_done: int, steps_per_epoch: int) -> float:
        """0 to 1."""
        if self.budget_s is None:
            return min(1.0, steps_done / (self.epochs * steps_per_epoch))
        start = self.start_s or 0.0
        end = self.budget_s - self.reserve_s
        return float(min(1.0, max(0.0, (self.used_s() - start) / max(end - start, 1.0))))


def parse_duration(text: str, *, where: str) -> float:
    """'90s', '20m', '2h', '1h30m' → seconds; a bare number is seconds. Raises: UserError that names the text."""
    match = DURATION.fullmatch(text.strip().lower())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total_s = hours * 3600 + minutes * 60 + seconds
    if total_s <= 0:
        raise UserError(f"'{text}' is not a time", where=where, next="Examples: 90s, 20m, 2h, 1h30m.")
    return total_s
