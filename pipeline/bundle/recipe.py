"""What a bundle says about how its network is to be used: from grey values to label values. Plain data, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..data import postprocess
from ..data.normalise import Normalisation
from ..data.slice_grid import Preprocessing
from ..errors import UserError
from ..labels import LabelTable, label_table_from_json
from ..network.decide import Head
from ..network.mirrored import DIMENSIONS, Flips


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything between a volume and its labels but the network itself."""

    preprocessing: Preprocessing
    head: Head
    table: LabelTable
    image_channels: int = 1
    modality: str = ""  # of the training data; "" where it is not known
    postprocessing: postprocess.Postprocessing = field(default_factory=dict)  # chosen on the validation cases; part of the mask
    temperature: float = 1.0  # scores are divided by it before they become probabilities; no mask depends on it
    body_box: bool = False  # CT: what lies outside the body is background without being looked at
    flips: Flips = field(default_factory=dict)  # mirror images that the network saw in training: whoever asks may average them

    def to_json(self) -> dict[str, Any]:
        """Plain types, the inverse of `recipe_from_json`. What came later is written where it says something only."""
        later = {
            "postprocessing": postprocess.to_json(self.postprocessing),
            "temperature": None if self.temperature == 1 else self.temperature,
            "body_box": self.body_box,
            "flips": {axis: [list(pair) for pair in pairs] for axis, pairs in self.flips.items()},
        }
        return {
            "preprocessing": asdict(self.preprocessing),
            "head": self.head,
            "label_table": self.table.to_json(),
            "image_channels": self.image_channels,
            "modality": self.modality,
            **{key: value for key, value in later.items() if value},
        }


def recipe_from_json(data: Mapping[str, Any], *, where: str) -> Recipe:
    """The inverse of `Recipe.to_json`. Raises: UserError that names `where` and what is wrong with it."""
    try:
        settings = dict(data["preprocessing"])
        normalisation = Normalisation(**settings.pop("normalisation"))
        preprocessing = Preprocessing(**settings, normalisation=normalisation)
        head = data["head"]
        if head not in ("softmax", "sigmoid"):
            raise ValueError(f"head is '{head}'")
        table = label_table_from_json(data["label_table"], where=where)
        recipe = Recipe(
            preprocessing=preprocessing,
            head=head,
            table=table,
            image_channels=int(data["image_channels"]),
            modality=str(data["modality"]),
            postprocessing=postprocess.from_json(data.get("postprocessing", {}), table),
            temperature=_positive(float(data.get("temperature", 1.0))),
            body_box=_true_or_false(data.get("body_box", False)),
            flips=_flips(data.get("flips", {}), table),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the bundle's recipe cannot be read: {error!r}", where=where) from error
    problems = preprocessing.problems()
    if problems:
        raise UserError("; ".join(problems), where=where)
    return recipe


def _positive(temperature: float) -> float:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}")
    return temperature


def _true_or_false(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"body_box is {value!r}")
    return value


def _flips(data: Mapping[str, Any], table: LabelTable) -> dict[str, tuple[tuple[int, int], ...]]:
    flips = {axis: tuple((int(one), int(other)) for one, other in pairs) for axis, pairs in data.items()}
    if not flips.keys() <= DIMENSIONS.keys():
        raise ValueError(f"flips along {', '.join(flips)}")
    if any(not 0 <= place < len(table.structures) for pairs in flips.values() for pair in pairs for place in pair):
        raise ValueError("flips exchange structures that the label table does not hold")
    return flips
