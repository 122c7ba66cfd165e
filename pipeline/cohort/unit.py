"""One restartable series: claim it, segment it, record how it went. What is done is not done again."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from glob import escape
from typing import TYPE_CHECKING

from ..errors import UserError
from ..handout.folder import free_place, write_prediction
from ..handout.predict_for import predict_for
from ..handout.sidecar import SIDECAR
from ..io.paths import write_text
from ..io.read import read_volume
from ..io.volume import Volume, short_uid
from .claims import claimed
from .job import Job
from .listed import Unit
from .records import Record, forget, forget_others, is_whole, one_line, owns, read_record, record_file, write_record

if TYPE_CHECKING:
    from ..inference.predictor import Predictor

KILLED = "the process that segmented it was killed (out of memory?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A series, and how often it had been tried when this call began: what failed since is not tried again."""

    unit: Unit
    tried: int = 0


def finished(job: Job, unit: Unit) -> Record | None:
    """The record of a series that is done with this bundle and these settings, and whose files are all there."""
    record = _read(job, unit)
    return record if record is not None and record.folder == unit.name and is_whole(job.out, record) else None


def task_of(job: Job, unit: Unit) -> Task:
    """The series as it stands now."""
    record = _read(job, unit)
    return Task(unit=unit, tried=0 if record is None else record.attempts)


def run_task(job: Job, task: Task, load: Callable[[], Predictor]) -> Record | None:
    """Segment the series and write OUT/<name>, unless that is done.

    Args:
        load: gives the bundle; called where it is needed.
    Returns: done or failed, as it is recorded; None where another process works on the series.
    Raises: UserError for a bundle that cannot be loaded: that is no fault of the series.
    """
    unit = task.unit
    with claimed(job.claim(unit)) as ours:
        if not ours:
            return None
        done, before = finished(job, unit), _read(job, unit)
        if done is not None:
            return _settled(job, unit, done)
        if before is not None and before.state == "failed" and before.attempts > task.tried:
            return before  # by another process, since this call began
        predictor = None if unit.fault else load()
        begun = _begun(job, unit, 1 if before is None else before.attempts + 1)
        write_record(job.out, begun)
        record = _attempt(job, unit, begun, predictor)
        write_record(job.out, record)
        return _settled(job, unit, record)


def _settled(job: Job, unit: Unit, record: Record) -> Record:
    """The record, which is now the only one of this series."""
    forget_others(job.out, record)
    if unit.formerly:
        forget(job.out, unit.formerly)
    return record


def record_killed(job: Job, task: Task, reason: str = KILLED) -> Record | None:
    """The failure of a series whose process died. None where another process has taken it up meanwhile."""
    with claimed(job.claim(task.unit)) as ours:
        if not ours:
            return None
        before = _read(job, task.unit)
        if before is not None and before.state == "done":
            return _settled(job, task.unit, before)
        _sweep(job, task.unit)
        tried = task.tried + 1 if before is None else max(before.attempts, task.tried + 1)
        record = replace(_begun(job, task.unit, tried), state="failed", reason=reason)
        write_record(job.out, record)
        forget_others(job.out, record)
        return record


def _read(job: Job, unit: Unit) -> Record | None:
    return read_record(record_file(job.out, f"{unit.id}-{job.order(unit)}"))


def _begun(job: Job, unit: Unit, attempts: int) -> Record:
    return Record(
        unit=unit.id,
        order=job.order(unit),
        state="begun",
        folder=unit.name,
        source=unit.shown,
        owns=owns(job.out, unit.id, unit.name),
        bundle=job.bundle_name,
        bundle_sha256=job.bundle_sha256,
        attempts=attempts,
        series=short_uid(unit.series_uid),
    )


def _attempt(job: Job, unit: Unit, begun: Record, predictor: Predictor | None) -> Record:
    """Done, or failed with its reason: what one series does wrong must not stop the others."""
    started = time.monotonic()
    log = record_file(job.out, begun.key).with_suffix(".log")
    log.unlink(missing_ok=True)
    try:
        _sweep(job, unit)
        if predictor is None:
            raise UserError(unit.fault.rstrip("."))
        record = _segmented(job, unit, begun, predictor)
    except UserError as error:
        record = replace(begun, state="failed", reason=one_line(error, unit.source, unit.name))
    except Exception as error:
        write_text(log, traceback.format_exc())
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        record = replace(begun, state="failed", reason=reason, bug=True)
    return replace(record, seconds=round(time.monotonic() - started, 3))


def _segmented(job: Job, unit: Unit, begun: Record, predictor: Predictor) -> Record:
    began = time.monotonic()
    image = _read_image(unit, job, predictor.left_bytes)
    read_s = time.monotonic() - began
    target = free_place(image.source, job.out, overwrite=True, name=unit.name)
    if not begun.owns:
        next_step = "Remove it, or choose another folder with -o."
        raise UserError("a prediction that is not of this cohort is there already", where=target, next=next_step)
    prediction, formats = predict_for(
        job.out, predictor, image, read_s=read_s, formats=dict(job.formats), overwrite=True, name=unit.name
    )
    folder = write_prediction(prediction, job.out, formats=formats, overwrite=True, page=job.page, name=unit.name)
    said = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    return replace(begun, state="done", volumes=tuple(said["volumes"]), notices=tuple(said["notices"]))


def _read_image(unit: Unit, job: Job, most_bytes: int | None) -> Volume:
    if unit.only:
        from ..io.dicom.read import read_dicom

        return read_dicom(
            unit.source,
            series=unit.series,
            volume=unit.volume,
            accept_irregular=job.accept_irregular,
            only=unit.only,
            most_bytes=most_bytes,
        )
    return read_volume(
        unit.source,
        series=unit.series,
        volume=unit.volume,
        pixel_size_mm=unit.pixel_size_mm,
        accept_irregular=job.accept_irregular,
        most_bytes=most_bytes,
    )


def _sweep(job: Job, unit: Unit) -> None:
    """Removes what killed processes left half-written of this folder, and brings back what stood there before: the claim says
    that nobody writes it now."""
    for left in record_file(job.out, "").parent.glob(f".{unit.id}-*.part*"):
        left.unlink(missing_ok=True)
    target = job.out / unit.name
    for left in job.out.glob(f".{escape(unit.name)}.*.part*"):
        if left.name.endswith(".before") and not target.exists():
            left.rename(target)  # killed between two renames
        else:
            shutil.rmtree(left, ignore_errors=True)
