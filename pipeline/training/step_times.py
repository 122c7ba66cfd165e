"""How long steps take and how long the network waits for samples, over an epoch; ignite handlers."""

from __future__ import annotations

import time

from ignite.engine import Engine, Events


class StepTimes:
    """Seconds of an epoch's steps, without its validation."""

    def __init__(self) -> None:
        self.waiting_s = self.working_s = 0.0
        self.steps = 0
        self.since_s = 0.0

    def attach(self, trainer: Engine) -> None:
        """Before the other handlers of a step, so that what they do counts as work."""
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._begin)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._end_wait)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)

    def take(self) -> dict[str, float]:
        """Since the last call: mean seconds a step, and the share of them that was waiting for samples."""
        total_s, steps = self.waiting_s + self.working_s, self.steps
        share = self.waiting_s / total_s if total_s else 0.0
        self.waiting_s = self.working_s = 0.0
        self.steps = 0
        return {"train/step_s": round(total_s / steps, 4), "train/waiting_fraction": round(share, 4)} if steps else {}

    def _begin(self, engine: Engine) -> None:
        self.since_s = time.monotonic()

    def _end_wait(self, engine: Engine) -> None:
        now_s = time.monotonic()
        self.waiting_s, self.since_s = self.waiting_s + now_s - self.since_s, now_s

    def _end_step(self, engine: Engine) -> None:
        now_s = time.monotonic()
        self.working_s, self.since_s = self.working_s + now_s - self.since_s, now_s
        self.steps += 1
