"""What a session says while it trains: the bar, the line of an epoch, and words for what ends it early."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from ignite.engine import Engine

from ..errors import UserError
from . import world

FROM_WORKER = "Caught UserError in DataLoader worker"  # PyTorch puts the whole traceback into the message


def bar_on_terminal(trainer: Engine) -> None:
    """A progress bar over the steps, where somebody can see it."""
    if sys.stderr.isatty() and world.leads():  # ignite's bar writes at every step into a pipe, too
        from ignite.handlers import ProgressBar

        ProgressBar(persist=False).attach(trainer, output_transform=lambda output: {"loss": output["loss"]})


def epoch_line(epoch: int, loss: float | None, scores: dict[str, float], names: Sequence[str], left_s: float) -> str:
    """Loss, Dice of each structure and the time left, in one line."""
    parts = [f"epoch {epoch}", "loss n/a" if loss is None else f"loss {loss:.4f}"]
    if "val/dice" in scores:
        each = ", ".join(f"{name} {scores[f'val/dice/{name}']:.3f}" for name in names if f"val/dice/{name}" in scores)
        parts.append(f"Dice {scores['val/dice']:.3f} ({each})")
    return "  ".join([*parts, f"{left_s / 60:.0f} min left" if left_s >= 90 else f"{left_s:.0f} s left"])


def in_words(error: BaseException) -> UserError | None:
    """What a machine that is too small says, for its user; and what a process that prepares samples found wrong."""
    if isinstance(error, UserError) and error.what.startswith(FROM_WORKER):
        return UserError(error.what.rpartition(f"{UserError.__name__}: ")[2].strip().rstrip("."))
    if isinstance(error, torch.OutOfMemoryError):
        what, advice = "the memory of the GPU is too small", "Train anew with a smaller batch_size, patch or network.width."
        return UserError(what, where="training", next=advice)
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        what = f"a process that prepares samples died ({str(error).splitlines()[0]})"
        advice = "Often memory is short; in a container, shared memory. Set workers: 0 in experiment.yaml and --resume."
        return UserError(what, where="training", next=advice)
    return None
