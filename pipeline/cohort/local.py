"""The series of a cohort on this machine: one after the other in this process, or by several, replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from ..cores import take_cores, usable_cores
from ..errors import UserError
from ..progress import silence
from .job import Job
from .records import Record
from .unit import Task, record_killed, run_task

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from ..inference.predictor import Predictor

Outcome = tuple[Task, Record | None]  # None: another process works on it
Execute = Callable[[Sequence[Task]], Iterator[Outcome]]
END_WAIT_S = 10.0  # of a worker that is told to stop: it removes what it has half-written


@lru_cache(maxsize=1)
def loaded(job: Job) -> Predictor:
    """The bundle, once a process."""
    import torch

    torch.set_num_threads(usable_cores())
    return job.predictor()


@contextlib.contextmanager
def in_this_process(job: Job) -> Iterator[Execute]:
    """One series after the other, each with all cores."""

    def execute(tasks: Sequence[Task]) -> Iterator[Outcome]:
        for task in tasks:
            yield task, run_task(job, task, lambda: loaded(job))

    yield execute


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = field(default=None)


@contextlib.contextmanager
def in_workers(job: Job, count: int) -> Iterator[Execute]:
    """So many processes, each with its share of the cores and the bundle loaded once.

    One that is killed is replaced, and what it was at is recorded as failed.
    """
    workers: list[_Worker] = []
    cores = max(1, usable_cores() // count)

    def execute(tasks: Sequence[Task]) -> Iterator[Outcome]:
        waiting = deque(tasks)
        while waiting or any(worker.task for worker in workers):
            idle = [worker for worker in workers if worker.task is None]
            while waiting and (idle or len(workers) < count):
                if not idle:
                    workers.append(_start(job, cores))
                    idle.append(workers[-1])
                _hand(idle.pop(), waiting.popleft())
            busy = {worker.pipe: worker for worker in workers if worker.task}
            for pipe in wait(list(busy)):
                yield _answer(job, busy[pipe], workers)  # type: ignore[index]

    try:
        yield execute
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(END_WAIT_S)
            worker.process.kill()


def _start(job: Job, cores: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, job, cores), daemon=True)
    process.start()
    theirs.close()  # so that ours ends when the process does
    return _Worker(process, ours)


def _hand(worker: _Worker, task: Task) -> None:
    worker.task = task
    with contextlib.suppress(OSError):  # it died meanwhile: the answer will say so
        worker.pipe.send(task)


def _answer(job: Job, worker: _Worker, workers: list[_Worker]) -> Outcome:
    task = worker.task
    if task is None:
        raise ValueError("a worker that answers has a task")
    try:
        answer = worker.pipe.recv()
    except (EOFError, ConnectionError):
        workers.remove(worker)
        worker.process.join()  # its claim is free when it is gone
        return task, record_killed(job, task)
    worker.task = None
    if isinstance(answer, str):
        raise RuntimeError(f"in a worker:\n{answer}")
    if isinstance(answer, UserError):
        raise answer
    return task, answer


def _serve(pipe: Connection, job: Job, cores: int) -> None:
    """A worker: takes tasks from the pipe until it is closed, answers with records."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the first one says when to stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by an exception: what is half-written is removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    take_cores(cores)
    silence(True)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_done(job, pipe.recv()))


def _done(job: Job, task: Task) -> Record | UserError | str | None:
    try:
        return run_task(job, task, lambda: loaded(job))
    except UserError as error:
        return error
    except Exception:
        return traceback.format_exc()


def _end_with_parent() -> None:
    """A worker of a killed cohort holds its series no longer than that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
