"""Predict one input after the other; what fails is said in one line and does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..io.read import read_volume
from ..io.volume import Volume
from ..progress import Overall, say
from .predict_into import predict_into

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

    Args:
        inputs: paths of what `read_volume` reads.
        done: called with each prediction and its folder.
    Returns: one error for each input that could not be segmented; they were printed already.
    """
    written: dict[Path, str] = {}
    with Overall(len(inputs)) as overall:

        def predict(source: str) -> None:
            overall.begin()
            prediction, folder = _predict(predictor, source, order, written, overall)
            written[folder] = source
            with overall.hidden():
                done(prediction, folder)

        return for_each(inputs, predict, overall)


def for_each(inputs: Sequence[str], work: Callable[[str], None], overall: Overall) -> list[UserError]:
    """What fails is one line on stderr, and does not stop the rest. Returns: these errors."""
    failures: list[UserError] = []
    for source in inputs:
        try:
            work(source)
        except UserError as error:
            failures.append(error)
            with overall.hidden():
                say(f"unet: {error}")
    return failures


def read_input(source: str, order: Order) -> tuple[Volume, float]:
    """The volume, and the seconds that it took to read. Raises: UserError as `read_volume` does."""
    started = time.monotonic()
    image = read_volume(
        source,
        series=order.series,
        volume=order.volume,
        pixel_size_mm=order.pixel_size_mm,
        accept_irregular=order.accept_irregular,
    )
    return image, time.monotonic() - started


def _predict(
    predictor: Predictor, source: str, order: Order, written: Mapping[Path, str], overall: Overall
) -> tuple[Prediction, Path]:
    overall.reach(0.0, "reading")
    image, read_s = read_input(source, order)
    earlier = written.get(order.out / image.source.short_name)
    if earlier is not None:
        raise UserError(f"would overwrite the mask of {earlier}", where=source, next="Use another -o for it.")
    with named_as(source, image):
        return predict_into(
            order.out,
            predictor,
            image,
            read_s=read_s,
            formats=order.formats,
            overwrite=order.overwrite,
            page=order.page,
            command=order.command,
            bar=lambda numbers: _shown(numbers, image.source.short_name, overall),
        )


@contextmanager
def named_as(source: str, image: Volume) -> Iterator[None]:
    """What is wrong with the image is said of the input, as the caller named it."""
    try:
        yield
    except UserError as error:
        if error.where != image.source.short_name:
            raise
        raise UserError(error.what, where=source, next=error.next) from error


def _shown(numbers: Iterable[int], name: str, overall: Overall) -> Iterator[int]:
    numbers = list(numbers)
    for done, number in enumerate(numbers):
        overall.reach(READ + (SEGMENTED - READ) * done / len(numbers), f"{name}: slice {done + 1} of {len(numbers)}")
        yield number
    overall.reach(SEGMENTED, f"{name}: writing")
