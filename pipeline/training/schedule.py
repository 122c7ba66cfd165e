"""The learning rate as a pure function of how much of the training is done, and the clock that says how much."""

from __future__ import annotations

import time

import psutil

WARM_UP_FRACTION = 0.02  # of the training: Adam's first steps, with moments of few gradients, are its wildest
POWER = 0.9  # of the polynomial decay (Chen et al., arXiv:1606.00915)


def learning_rate(base: float, done_fraction: float) -> float:
    """Linear warm-up, then polynomial decay to 0.

    Args:
        done_fraction: 0 at the start of the training, 1 at its end.
    """
    if done_fraction < WARM_UP_FRACTION:
        return base * (0.1 + 0.9 * done_fraction / WARM_UP_FRACTION)
    left = max(0.0, 1.0 - (done_fraction - WARM_UP_FRACTION) / (1.0 - WARM_UP_FRACTION))
    return base * float(left**POWER)


def process_age_s() -> float:
    """Seconds since this process was started: a budget counts imports and preprocessing too."""
    return time.time() - psutil.Process().create_time()


class Clock:
    """How much of a training is done: by time where a budget is set, else by epochs.

    Args:
        budget_s: seconds for the whole process, or None.
        used_s: seconds that earlier processes of this run have used.
        started_s: age of this process when the first step can begin; the schedule runs from there.
    """

    def __init__(self, *, epochs: int, budget_s: float | None, used_s: float = 0.0, started_s: float = 0.0) -> None:
        self.epochs = epochs
        self.budget_s = budget_s
        self.used_before_s = used_s
        self.started_s = started_s
        self.reserve_s = 8.0  # for the last validation and the files behind it; learned from the first validation

    def used_s(self) -> float:
        """Seconds of the budget that are gone, over all processes of this run."""
        return self.used_before_s + process_age_s()

    def learn_reserve(self, validation_s: float) -> None:
        """The end of a training costs two more validations, the last weights' and the best's, pictures, files and tracking."""
        self.reserve_s = max(self.reserve_s, 8.0 + 2.5 * validation_s)

    def left_s(self) -> float:
        """Seconds that may still be trained; infinite without a budget."""
        return float("inf") if self.budget_s is None else self.budget_s - self.reserve_s - self.used_s()

    def done_fraction(self, steps_done: int, steps_per_epoch: int) -> float:
        """0 to 1."""
        if self.budget_s is None:
            return min(1.0, steps_done / (self.epochs * steps_per_epoch))
        start = self.started_s if self.used_before_s == 0 else 0.0
        end = self.budget_s - self.reserve_s
        return float(min(1.0, max(0.0, (self.used_s() - start) / max(end - start, 1.0))))


def parse_duration(text: str, *, where: str) -> float:
    """'90s', '20m', '2h', '1h30m' → seconds. Raises: UserError that names the text."""
    import re

    from ..errors import UserError

    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    if not text.strip() or match is None or not any(match.groups()):
        raise UserError(f"'{text}' is not a time", where=where, next="Examples: 90s, 20m, 2h, 1h30m.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
