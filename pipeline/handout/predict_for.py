"""Segment an image that was read, for what is wanted of it: what a prediction, its forecast and a series of a cohort share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..inference.prediction import Prediction
from ..inference.predictor import Predictor
from ..inference.segment import Bar
from ..io.volume import Volume
from .folder import free_place
from .formats import Format, chosen_formats, load_ahead


def predict_for(
    out: Path,
    predictor: Predictor,
    image: Volume,
    *,
    read_s: float,
    formats: Mapping[str, bool | None],
    overwrite: bool,
    name: str = "",
    command: str = "",
    bar: Bar | None = None,
) -> tuple[Prediction, tuple[Format, ...]]:
    """A prediction with all that is wanted of it. Whatever can be refused is refused before the network runs.

    Args:
        out: where the prediction's folder will go.
        read_s: seconds that reading took.
        formats: what is wanted, as in `chosen_formats`.
        overwrite, name: as in `write_prediction`.
        command: what was typed, for the record; with nothing of a patient in it.
        bar: as in `Predictor.predict`.
    Returns: what `write_prediction` takes.
    Raises: UserError as `free_place`, `chosen_formats` and `Predictor.predict` do.
    """
    free_place(image.source, out, overwrite=overwrite, name=name)
    chosen = chosen_formats(formats, image, predictor.table)
    load_ahead(chosen)
    maps = {row.map for row in chosen}
    prediction = predictor.predict(image, probabilities="probabilities" in maps, uncertainty="uncertainty" in maps, bar=bar)
    prediction = replace(
        prediction,
        timings_s={**prediction.timings_s, "read": round(read_s, 3)},
        provenance={**prediction.provenance, **({"command": command} if command else {})},
    )
    return prediction, chosen
