"""What a training chose on its validation cases after its last epoch, as the run folder holds it. Chooses nothing itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..data.augmentation_fit import swaps_of
from ..data.postprocess import Postprocessing, from_json
from ..errors import UserError
from ..labels import LabelTable
from ..network.mirrored import Flips
from .experiment import Experiment
from .run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What belongs to the weights and is no weight. By default nothing."""

    postprocessing: Postprocessing = field(default_factory=dict)
    temperature: float = 1.0


def chosen_for(folder: RunFolder, epoch: int) -> Chosen:
    """What was chosen for the weights of this epoch; nothing where the run has not come to its end, or for other weights.

    Raises: UserError where the file is damaged.
    """
    file = folder.chosen
    if not file.is_file():
        return Chosen()
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if int(data["epoch"]) != epoch:  # the last weights, or a run that was resumed and has not finished again
            return Chosen()
        postprocessing = from_json(data["postprocessing"], folder.manifest().table)
        return Chosen(postprocessing=postprocessing, temperature=float(data["calibration"]["temperature"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"is damaged ({error!r})", where=file, next="Delete it to do without, or restore it.") from error


def flips_of(experiment: Experiment, table: LabelTable) -> Flips:
    """The mirror images that the training drew, with the structures that change names in them."""
    if "flips" not in experiment.augmentation.drawn:
        return {}
    try:
        return swaps_of(experiment.augmentation, experiment.preprocessing.plane, table)
    except UserError:  # the first runs were not asked for pairs; what they learned of sides, no mirror image may decide
        return {}


def passes_after(flips: Flips) -> int:
    """How often the network sees the validation cases after the last epoch: once, and once for each mirror image."""
    return 1 + (2 ** len(flips) if flips else 0)


def chosen_facts(folder: RunFolder) -> dict[str, Any]:
    """All that was chosen for the best weights, and what it brought; empty where nothing was, or for other weights."""
    if not folder.chosen.is_file():
        return {}
    data: dict[str, Any] = json.loads(folder.chosen.read_text(encoding="utf-8"))
    return data if data["epoch"] == folder.facts().get("best_epoch") else {}


def chosen_scores(folder: RunFolder) -> dict[str, float]:
    """For the tracker: what was chosen for the best weights, in numbers; nothing where nothing was."""
    data = chosen_facts(folder)
    if not data:
        return {}
    calibration, flips = data["calibration"], data["flips"] or {"dice": {}, "s_per_case": {}}
    found = {f"calibration/{key}": calibration.get(key) for key in ("ece_before", "ece_after", "temperature")}
    for way in ("without", "with"):
        found[f"postprocessing/dice_{way}"] = data["dice"][way].get("mean")
        found[f"flips/dice_{way}"] = flips["dice"].get(way, {}).get("mean")
        found[f"flips/s_per_case_{way}"] = flips["s_per_case"].get(way)
    return {key: float(value) for key, value in found.items() if value is not None}
