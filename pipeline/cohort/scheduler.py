"""The series of a cohort on an existing Dask cluster: Dask hands them out again when a worker is lost, claims and records are
the same as on one machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..cores import take_cores
from ..errors import UserError
from .job import Job
from .local import Execute, Outcome, loaded
from .records import Record
from .unit import Task, record_killed, run_task

ANSWER_S = 15.0
RETRIES = 2  # of what fails outside the series: a worker that cannot read the bundle, while others can

_one_at_a_time = threading.Lock()  # a worker of several threads gives all of them to one series: memory is for one


@contextlib.contextmanager
def on_cluster(job: Job, address: str) -> Iterator[Execute]:
    """The workers of a scheduler; they must see the list, the bundle and OUT under the same paths.

    Raises: UserError where there is no scheduler, no worker, or a worker that cannot do the work.
    """
    if find_spec("distributed") is None:
        raise UserError("dask.distributed is not installed", where="--scheduler", next="Type: pip install 'unet[cohort]'")
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_S)
    except (OSError, ValueError) as error:
        what = f"no Dask scheduler answers ({error or type(error).__name__})"
        raise UserError(what, where=address, next="Start one with 'dask scheduler', and workers.") from error
    with client:
        _refuse_unfit(client.run(_fault_here, str(job.bundle), str(job.out)), address)

        def execute(tasks: Sequence[Task]) -> Iterator[Outcome]:
            from distributed import as_completed

            futures = {client.submit(_task, job, task, pure=False, retries=RETRIES): task for task in tasks}
            try:
                for future in as_completed(list(futures)):
                    task = futures.pop(future)  # so that the cluster may forget the result
                    yield task, _result(future, job, task, address)
            finally:
                client.cancel(list(futures))

        yield execute


def _refuse_unfit(faults: dict[str, str], address: str) -> None:
    if not faults:
        raise UserError("the scheduler has no workers", where=address, next="Start some: dask worker ADDRESS --nthreads 1")
    wrong = [f"{worker}: {fault}" for worker, fault in faults.items() if fault]
    if wrong:
        next_step = "All workers need the same unet, and the same folders under the same paths."
        raise UserError(f"{len(wrong)} of {len(faults)} workers cannot do it: {wrong[0]}", where=address, next=next_step)


def _fault_here(bundle: str, out: str) -> str:
    """On each worker: '' or what is missing there."""
    absent = [path for path in (bundle, out) if not Path(path).is_dir()]
    return f"there is no {absent[0]}" if absent else ""


def _result(future: object, job: Job, task: Task, address: str) -> Record | None:
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        record: Record | None = future.result()  # type: ignore[attr-defined]
        return record
    except KilledWorker:  # as often as `distributed.scheduler.allowed-failures` of the cluster allows
        return record_killed(job, task)
    except CancelledError as error:
        raise UserError("the scheduler is gone", where=address, next="The same command goes on with the rest.") from error


def _task(job: Job, task: Task) -> Record | None:
    """On a worker."""
    from distributed import get_worker

    with _one_at_a_time:
        take_cores(max(1, get_worker().state.nthreads))
        return run_task(job, task, lambda: loaded(job))
