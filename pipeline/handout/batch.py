"""Predict one input after the other; what fails is said in one line and does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..progress import say
from .folder import write_prediction


def predict_all(
    predictor: Predictor,
    inputs: Sequence[str],
    out: Path | str,
    *,
    series: str = "",
    volume: str = "",
    pixel_size_mm: float | None = None,
    done: Callable[[Prediction, Path], None],
) -> list[UserError]:
    """Segment all inputs with one loaded bundle.

    Args:
        inputs, series, volume, pixel_size_mm: as in `Predictor.predict`.
        out: where the prediction folders go.
        done: called with each prediction and its folder.
    Returns: one error for each input that could not be segmented; they were printed already.
    """
    failures: list[UserError] = []
    written: dict[Path, str] = {}
    for source in inputs:
        try:
            prediction = predictor.predict(source, series=series, volume=volume, pixel_size_mm=pixel_size_mm)
            target = Path(out) / prediction.name
            if target in written:
                raise UserError(f"would overwrite the mask of {written[target]}", where=source, next="Use another -o for it.")
            written[write_prediction(prediction, out)] = source
        except UserError as error:
            failures.append(error)
            say(f"unet: {error}")
            continue
        done(prediction, target)
    return failures
