"""What a prediction will take, said before: everything is done once, but the network sees a few slices instead of all.

What it found there stands for the slices between, so that files of the true size are written, into a folder that is removed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..bundle.recipe import Recipe
from ..data.slice_grid import slice_grid
from ..errors import UserError
from ..inference.prediction import Prediction, structure_volumes
from ..inference.predictor import Predictor
from ..process import age_s, peak_bytes
from ..progress import Overall
from .batch import Failures, Order, named_as, read_input, refuse_taken
from .folder import write_prediction
from .predict_for import predict_for

PLACES = (0.25, 0.5, 0.75)  # where in the volume two slices are computed; of each pair the second is timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one input. A GB is 10^9 bytes."""

    name: str
    shape: tuple[int, int, int]
    slices: int  # that the network sees
    slice_s: float  # for each
    start_s: float  # imports and loading of the bundle, for all inputs together
    read_s: float
    segment_s: float
    write_s: float
    held_bytes: int  # scan, labels and maps: while one is written, the next has its own
    peak_bytes: int  # of the whole process

    @property
    def seconds(self) -> float:
        """Of this input, without the start."""
        return self.read_s + self.segment_s + self.write_s


def forecast(predictor: Predictor, source: str, order: Order, taken: Mapping[str, str]) -> Forecast:
    """Raises: UserError as the prediction would."""
    start_s = age_s()
    image, read_s = read_input(source, order, predictor.left_bytes)
    refuse_taken(image, source, taken)
    sample = _Sample()
    began = time.monotonic()
    with named_as(source, image):
        prediction, formats = predict_for(
            order.out, predictor, image, read_s=read_s, formats=order.formats, overwrite=order.overwrite, bar=sample
        )
    segment_s = time.monotonic() - began + sample.left_out * sample.slice_s
    prediction = _filled(prediction, predictor.bundle.recipe, sample)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="unet-") as folder:
        write_prediction(prediction, Path(folder) / "out", formats=formats, page=order.page)
    return Forecast(
        name=prediction.name,
        shape=image.shape,
        slices=len(sample.all),
        slice_s=sample.slice_s,
        start_s=start_s,
        read_s=read_s,
        segment_s=segment_s,
        write_s=time.monotonic() - began,
        held_bytes=sum(array.nbytes for array in _arrays(prediction)),
        peak_bytes=peak_bytes(),
    )


def forecast_all(predictor: Predictor, inputs: Sequence[str], order: Order) -> tuple[list[Forecast], list[UserError]]:
    """Of each input that can be segmented, and one error for each other; these were printed already."""
    found: list[Forecast] = []
    taken: dict[str, str] = {}
    failures = Failures()
    with Overall(len(inputs)) as overall:
        for source in inputs:
            overall.begin()
            overall.reach(0.0, "trying")
            try:
                found.append(forecast(predictor, source, order, taken))
                taken[found[-1].name] = source
            except UserError as error:
                failures.add(error, overall)
    return found, failures.errors


def _arrays(prediction: Prediction) -> Iterator[np.ndarray]:
    yield prediction.image.array
    yield prediction.labels.array
    yield from (array for array in (prediction.probabilities, prediction.uncertainty) if array is not None)


class _Sample:
    """Instead of a bar around the slice numbers: lets few through, and times them."""

    def __init__(self) -> None:
        self.all: list[int] = []
        self.computed: list[int] = []
        self._seconds: list[float] = []  # of those that were not the first of their kind

    def __call__(self, numbers: Iterable[int]) -> Iterator[int]:
        self.all = list(numbers)
        firsts = {int(share * (len(self.all) - 1)) for share in PLACES}
        for place in sorted({place for first in firsts for place in (first, first + 1) if place < len(self.all)}):
            began = time.monotonic()
            yield self.all[place]
            if place not in firsts or len(self.all) <= len(firsts):
                self._seconds.append(time.monotonic() - began)
            self.computed.append(self.all[place])

    @property
    def slice_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else 0.0

    @property
    def left_out(self) -> int:
        return len(self.all) - len(self.computed)


def _filled(prediction: Prediction, recipe: Recipe, sample: _Sample) -> Prediction:
    """With the labels of the nearest slice that was computed in those that were not."""
    image, labels = prediction.image, prediction.labels
    turned = slice_grid(image.shape, image.affine, recipe.preprocessing).turn(labels.array)
    computed = np.array(sample.computed)
    for number in sorted(set(sample.all) - set(sample.computed)):
        turned[number] = turned[computed[np.abs(computed - number).argmin()]]
    return replace(prediction, structures=structure_volumes(labels, prediction.table))
