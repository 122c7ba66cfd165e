"""Predict one input after the other; what fails is said in one line and does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..io.read import read_volume
from ..io.volume import Volume
from ..progress import Overall, say
from .folder import write_prediction
from .formats import Format
from .predict_for import predict_for

READ, SEGMENTED = 0.02, 0.95  # how much of an input is done then, about: for the bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted of every input."""

    out: Path  # where the prediction folders go
    formats: Mapping[str, bool | None] = field(default_factory=dict)  # as in `chosen_formats`
    overwrite: bool = False
    series: str = ""  # this and the following as in `read_volume`
    volume: str = ""
    pixel_size_mm: float | None = None
    accept_irregular: bool = False
    page: bool = True  # also `report.html`
    command: str = ""  # what was typed, for the record; with nothing of a patient in it


def predict_all(
    predictor: Predictor, inputs: Sequence[str], order: Order, *, done: Callable[[Prediction, Path], None]
) -> list[UserError]:
    """Segment all inputs with one loaded bundle.

    While one is written, the next is read and segmented; not so where memory is bounded, of which two take more than one.

    Args:
        inputs: paths of what `read_volume` reads.
        done: called with each prediction and its folder, in the order of the inputs.
    Returns: one error for each input that could not be segmented; they were printed already.
    """
    failures = Failures()
    taken: dict[str, str] = {}
    before: Callable[[], None] = _nothing  # ends the input before: waits until it is written, and tells of it
    with Overall(len(inputs)) as overall, ThreadPoolExecutor(1) as writer:
        for source in inputs:
            overall.begin()
            if predictor.max_ram_bytes is not None:
                before()
                before = _nothing
            try:
                prediction, formats = _predict(predictor, source, order, taken, overall)
            except UserError as error:
                before()
                before = _nothing
                failures.add(error, overall)
                continue
            before()
            taken[prediction.name] = source
            written = writer.submit(_write, prediction, formats, order)
            before = partial(_tell, prediction, written, done, failures, overall)
        before()
    return failures.errors


class Failures:
    """What could not be segmented: one line on stderr each."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def add(self, error: UserError, overall: Overall) -> None:
        self.errors.append(error)
        with overall.hidden():
            say(f"unet: {error}")


def read_input(source: str, order: Order, most_bytes: int | None) -> tuple[Volume, float]:
    """The volume, and the seconds that it took to read. Raises: UserError as `read_volume` does."""
    started = time.monotonic()
    image = read_volume(
        source,
        series=order.series,
        volume=order.volume,
        pixel_size_mm=order.pixel_size_mm,
        accept_irregular=order.accept_irregular,
        most_bytes=most_bytes,
    )
    return image, time.monotonic() - started


def refuse_taken(image: Volume, source: str, taken: Mapping[str, str]) -> None:
    """Raises: UserError where an earlier input had this name.

    Args:
        taken: name → the input that has it.
    """
    earlier = taken.get(image.source.short_name)
    if earlier is not None:
        raise UserError(f"would overwrite the mask of {earlier}", where=source, next="Use another -o for it.")


@contextmanager
def named_as(source: str, image: Volume) -> Iterator[None]:
    """What is wrong with the image is said of the input, as the caller named it."""
    try:
        yield
    except UserError as error:
        if error.where != image.source.short_name:
            raise
        raise UserError(error.what, where=source, next=error.next) from error


def _nothing() -> None:
    """Before the first input there is none."""


def _predict(
    predictor: Predictor, source: str, order: Order, taken: Mapping[str, str], overall: Overall
) -> tuple[Prediction, tuple[Format, ...]]:
    overall.reach(0.0, "reading")
    image, read_s = read_input(source, order, predictor.left_bytes)
    refuse_taken(image, source, taken)
    with named_as(source, image):
        return predict_for(
            order.out,
            predictor,
            image,
            read_s=read_s,
            formats=order.formats,
            overwrite=order.overwrite,
            command=order.command,
            bar=lambda numbers: _shown(numbers, image.source.short_name, overall),
        )


def _shown(numbers: Iterable[int], name: str, overall: Overall) -> Iterator[int]:
    numbers = list(numbers)
    for done, number in enumerate(numbers):
        overall.reach(READ + (SEGMENTED - READ) * done / len(numbers), f"{name}: slice {done + 1} of {len(numbers)}")
        yield number
    overall.reach(SEGMENTED, f"{name}: writing")


def _write(prediction: Prediction, formats: Sequence[Format], order: Order) -> Path:
    return write_prediction(prediction, order.out, formats=formats, overwrite=order.overwrite, page=order.page)


def _tell(
    prediction: Prediction,
    written: Future[Path],
    done: Callable[[Prediction, Path], None],
    failures: Failures,
    overall: Overall,
) -> None:
    try:
        folder = written.result()
    except UserError as error:
        failures.add(error, overall)
        return
    with overall.hidden():
        done(prediction, folder)
