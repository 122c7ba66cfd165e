"""What a bundle says about how its network is to be used: from grey values to label values. Plain data, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..data.normalise import Normalisation
from ..data.slice_grid import Preprocessing
from ..errors import UserError
from ..labels import LabelTable, label_table_from_json
from ..network.decide import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything between a volume and its labels but the network itself."""

    preprocessing: Preprocessing
    head: Head
    table: LabelTable
    image_channels: int = 1
    modality: str = ""  # of the training data; "" where it is not known

    def to_json(self) -> dict[str, Any]:
        """Plain types, the inverse of `recipe_from_json`."""
        return {
            "preprocessing": asdict(self.preprocessing),
            "head": self.head,
            "label_table": self.table.to_json(),
            "image_channels": self.image_channels,
            "modality": self.modality,
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
        recipe = Recipe(
            preprocessing=preprocessing,
            head=head,
            table=label_table_from_json(data["label_table"], where=where),
            image_channels=int(data["image_channels"]),
            modality=str(data["modality"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the bundle's recipe cannot be read: {error!r}", where=where) from error
    problems = preprocessing.problems()
    if problems:
        raise UserError("; ".join(problems), where=where)
    return recipe
