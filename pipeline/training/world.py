"""One process or many: what the processes of one training tell each other, by ignite.distributed.

Adds to it: one that leads and decides, whose word the others take; and a dead process becomes a clear word. With one process
everything here is itself. Knows nothing of networks or files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
from torch import Tensor
from torch import distributed as dist

from .. import progress
from ..errors import UserError

Item = TypeVar("Item")

# A process that died is noticed at once, since its connections close. One that is merely slow is waited for: the leader may
# preprocess for hours.
PATIENCE = timedelta(hours=24)
GONE = ("connection closed", "connection reset", "connection refused", "timed out", "broken pipe", "remote process exited")


def started_with_others() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def size() -> int:
    """How many processes train together."""
    return int(idist.get_world_size())


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(idist.get_rank())


def leads() -> bool:
    """Whether this one decides, writes and speaks."""
    return rank() == 0


def on_this_machine() -> int:
    """How many of the processes run here and share its cores."""
    return int(idist.get_nproc_per_node())


@contextmanager
def together() -> Iterator[None]:
    """Joins the processes of a launcher; those that do not lead fall silent.

    Raises: UserError where another process ended while this one waited for it.
    """
    cuda = torch.cuda.is_available()
    with _one_gone_in_words():
        idist.initialize("nccl" if cuda else "gloo", timeout=PATIENCE)
        progress.silence(not leads())
        try:
            yield
        finally:
            progress.silence(False)
            idist.finalize()


@contextmanager
def _one_gone_in_words() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not one_gone(error):
            raise
        what = "another process of this training ended; its own words, if it had any, say why"
        advice = "The checkpoint of the epoch before stays: start the same processes again with --resume."
        raise UserError(what, where=f"process {os.environ.get('RANK', '0')}", next=advice) from error


def one_gone(error: BaseException) -> bool:
    """Whether it says that another process ended while this one waited for it."""
    return started_with_others() and isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in GONE)


def joined(local: Tensor) -> Tensor:
    """The parts of all processes, (B, ...) each, as one batch in the order of the ranks; the own part keeps its gradient.

    A loss over the joined batch is the loss of one process with the whole batch, whatever it sums over; the gradient that it
    gives each process is that of its own part, and their sum is the whole gradient.
    """
    if size() == 1:
        return local
    everyone = of_each(local.detach()).flatten(0, 1)
    first = rank() * len(local)
    return torch.cat([everyone[:first], local, everyone[first + len(local) :]])


def summed(local: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
    total = idist.all_reduce(local) if size() > 1 else local
    assert isinstance(total, Tensor)
    return total


def of_each(local: Tensor) -> Tensor:
    """The tensors of all processes, along a new first axis in the order of the ranks; without gradient."""
    if size() == 1:
        return local[None]
    everyone = idist.all_gather(local[None].contiguous())
    assert isinstance(everyone, Tensor)
    return everyone


def as_led(value: float) -> float:
    """The leader's value."""
    return float(idist.broadcast(value, src=0)) if size() > 1 else value  # type: ignore[arg-type]


def any_of(flag: bool) -> bool:
    """Whether it is so in one process at least."""
    return bool(idist.all_reduce(float(flag), op="MAX")) if size() > 1 else flag


def of_all(own: list[Item]) -> list[Item]:
    """The items of all processes: the first of each, then the second of each, as they are dealt by `dealt`."""
    if size() == 1:
        return own
    each: list[Any] = [None] * size()
    dist.all_gather_object(each, own)
    longest = max(map(len, each))
    return [part[place] for place in range(longest) for part in each if place < len(part)]


def dealt(items: list[Item]) -> list[Item]:
    """This process' share of the items: every n-th."""
    return items[rank() :: size()]


def wait_for_all() -> None:
    """Until every process is here."""
    idist.barrier()


def told(message: object = None) -> Any:
    """The leader's message, to all; anything that can be pickled."""
    box = [message]
    dist.broadcast_object_list(box, src=0)
    return box[0]
