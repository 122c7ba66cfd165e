"""Predict one input after the other; what fails is said in one line and does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..io.read import read_volume
from ..progress import say
from .predict_into import predict_into


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
    failures: list[UserError] = []
    written: dict[Path, str] = {}
    for source in inputs:
        try:
            prediction, folder = _predict(predictor, source, order, written)
        except UserError as error:
            failures.append(error)
            say(f"unet: {error}")
            continue
        written[folder] = source
        done(prediction, folder)
    return failures


def _predict(predictor: Predictor, source: str, order: Order, written: Mapping[Path, str]) -> tuple[Prediction, Path]:
    started = time.monotonic()
    image = read_volume(
        source,
        series=order.series,
        volume=order.volume,
        pixel_size_mm=order.pixel_size_mm,
        accept_irregular=order.accept_irregular,
    )
    read_s = time.monotonic() - started
    earlier = written.get(order.out / image.source.short_name)
    if earlier is not None:
        raise UserError(f"would overwrite the mask of {earlier}", where=source, next="Use another -o for it.")
    try:
        return predict_into(
            order.out,
            predictor,
            image,
            read_s=read_s,
            formats=order.formats,
            overwrite=order.overwrite,
            page=order.page,
            command=order.command,
        )
    except UserError as error:
        if error.where != image.source.short_name:
            raise
        raise UserError(error.what, where=source, next=error.next) from error  # as the caller named it
