"""A cohort from its list to its table: what is left is handed out until everything is done or failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ..errors import UserError
from ..progress import bar, say
from .job import Job
from .listed import Unit
from .local import Execute
from .records import UNITS, Record, forget_unlisted
from .table import Table, write_tables
from .unit import Task, finished, task_of

POLL_S = 1.0  # between two looks at what other processes work on


@dataclass(slots=True)
class Outcomes:
    """What became of the series of one call."""

    total: int
    before: int = 0  # done by an earlier call
    done: int = 0
    failed: list[Record] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 a bug of ours among the failures, 2 failures."""
        return 1 if any(record.bug for record in self.failed) else 2 if self.failed else 0

    def __str__(self) -> str:
        parts = [f"{self.done + self.before} of {self.total} series done"]
        parts += [f"{self.before} of them before"] if self.before else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return ", ".join(parts)


def run_cohort(
    job: Job, units: Sequence[Unit], executor: AbstractContextManager[Execute], *, whole: bool = True
) -> tuple[Outcomes, Table]:
    """Segment what is not done yet, and write the table of all that lies in OUT.

    Args:
        whole: these are all that are listed, so that failures of others may be forgotten.
    Returns: what became of these units, and the table.
    Raises: KeyboardInterrupt after a word on how to go on, UserError for a bundle that cannot be loaded or a place that
        cannot be written to.
    """
    _refuse_unwritable(job)
    if whole:
        forget_unlisted(job.out, {unit.id for unit in units})
    outcomes = Outcomes(total=len(units))
    # what is done and still claimed is claimed once more: a process that was killed right after it left its claim there
    tasks = [task_of(job, unit) for unit in units if finished(job, unit) is None or job.claim(unit).exists()]
    outcomes.before = len(units) - len(tasks)
    tasks.sort(key=lambda task: task.tried)  # what has failed, or has killed a process, comes last
    try:
        with executor as execute:
            results = _until_settled(execute, tasks) if tasks else iter(())
            for record in bar(results, title="cohort", total=len(tasks), unit="series"):
                if record.state == "failed":
                    outcomes.failed.append(record)
                    say(f"unet: {record.folder}: {record.reason}")
                else:
                    outcomes.done += 1
    except KeyboardInterrupt:
        write_tables(job.out)
        say(f"{outcomes}; the same command goes on with the rest")
        raise
    return outcomes, write_tables(job.out)


def _until_settled(execute: Execute, tasks: Sequence[Task]) -> Iterator[Record]:
    """A record for each task; those that other processes are at are looked at again until they are done, or free."""
    left, said = list(tasks), False
    while left:
        held = []
        for task, record in execute(left):
            if record is None:
                held.append(task)
            else:
                yield record
        if held and not said:
            say(f"waiting for {len(held)} series that other processes work on")
            said = True
        if held:
            time.sleep(POLL_S)
        left = held


def _refuse_unwritable(job: Job) -> None:
    try:
        (job.out / UNITS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        next_step = "Choose another folder with -o."
        raise UserError(f"cannot be written to ({error.strerror})", where=job.out, next=next_step) from error
