"""What of a training goes into a bundle: weights, recipe, and how good they were. Writes nothing.

Of all folds of a cross-validation the members of an ensemble; of one run its network alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Literal

from ..data.postprocess import Postprocessing, Steps
from ..labels import LabelTable
from ..training.checkpoint import load_checkpoint
from ..training.chosen import Chosen, chosen_for, flips_of
from ..training.cross_folder import CrossFolder
from ..training.cross_validation import fold_scores
from ..training.experiment import Experiment
from ..training.run_folder import RunFolder
from ..training.scored_run import SCORES, open_scored_run
from .recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

Checkpoint = Literal["best", "last"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contents:
    """What is packaged."""

    experiment: Experiment
    recipe: Recipe
    weights: dict[str, Tensor]  # of several members: each name behind "members.0." and so on, as `Ensemble` has them
    members: int
    score: str  # in words, for the model card
    volumes_ml: Mapping[str, tuple[float, float]]  # structure → smallest and largest in the training cases; {}: not known


def contents_of_run(folder: RunFolder, checkpoint: Checkpoint) -> Contents:
    """One network. Raises: UserError where the run has no such checkpoint."""
    state = load_checkpoint(folder.best if checkpoint == "best" else folder.last)
    recipe = _recipe(folder, folder.image_channels, chosen_for(folder, state["epoch"]))
    return Contents(
        experiment=folder.experiment(),
        recipe=recipe,
        weights=state["network"],
        members=1,
        score=_score(folder, state["epoch"]),
        volumes_ml=_volumes_ml([folder]),
    )


def contents_of_folds(cross: CrossFolder, checkpoint: Checkpoint) -> Contents:
    """The networks of all folds.

    What was chosen after the trainings counts where most folds agree. A temperature is that of a single network: none is taken.

    Raises: UserError where a fold is not trained to its end.
    """
    runs = list(cross.runs.values())
    states = [load_checkpoint(run.best if checkpoint == "best" else run.last) for run in runs]
    each = [chosen_for(run, state["epoch"]).postprocessing for run, state in zip(runs, states, strict=True)]
    recipe = _recipe(cross, runs[0].image_channels, Chosen(postprocessing=agreed(each, cross.manifest().table)))
    weights = {f"members.{k}.{name}": tensor for k, state in enumerate(states) for name, tensor in state["network"].items()}
    score = _scores_of_folds(cross) if checkpoint == "best" else "not validated"
    return Contents(
        experiment=cross.experiment(),
        recipe=recipe,
        weights=weights,
        members=len(runs),
        score=score,
        volumes_ml=_volumes_ml(runs),
    )


def _volumes_ml(runs: Sequence[RunFolder]) -> dict[str, tuple[float, float]]:
    """Over the training cases of all these runs; four digits, so that no single scan is told by them."""
    each: list[Mapping[str, Sequence[float]]] = [run.facts().get("volumes_ml", {}) for run in runs]  # type: ignore[misc]
    if not all(each):  # runs of earlier versions, and pictures without a pixel size
        return {}
    return {
        name: (float(f"{min(ml[name][0] for ml in each):.4g}"), float(f"{max(ml[name][1] for ml in each):.4g}"))
        for name in each[0]
    }


def agreed(each: Sequence[Postprocessing], table: LabelTable) -> Postprocessing:
    """What more than half of the folds do to a structure, step by step; of sizes the median. No name where that is nothing."""
    found = {}
    for name in table.names:
        steps = [chosen.get(name, Steps()) for chosen in each]
        found[name] = Steps(
            smallest_ml=median_low(s.smallest_ml for s in steps),
            largest=median_low(s.largest for s in steps),
            holes=median_low(s.holes for s in steps),
        )
    return {name: steps for name, steps in found.items() if steps}


def _recipe(folder: RunFolder, channels: int, chosen: Chosen) -> Recipe:
    experiment, manifest = folder.experiment(), folder.manifest()
    modalities = {case.modality for case in manifest.cases}
    return Recipe(
        preprocessing=experiment.preprocessing,
        head=experiment.network.head,
        table=manifest.table,
        image_channels=channels,
        modality=modalities.pop() if len(modalities) == 1 else "",
        postprocessing=chosen.postprocessing,
        temperature=chosen.temperature,
        flips=flips_of(experiment, manifest.table),
    )


def _score(folder: RunFolder, epoch: int) -> str:
    """How good the packaged weights were on the validated cases, in words."""
    dice = next((line.get("val/dice") for line in folder.history() if line["epoch"] == epoch), None)
    if dice is None:
        return "not validated"
    where = f"mean over structures and cases of fold {folder.fold}, on the network's own grid"
    return f"{float(str(dice)):.4f} after epoch {epoch} ({where})"


def _scores_of_folds(cross: CrossFolder) -> str:
    """Of the out-of-fold masks where they were scored, else of each fold's validation."""
    own = "; the ensemble itself was not scored: no case is left that none of its members has seen"
    if (cross.scores / SCORES).is_file():
        scored = open_scored_run(cross.path)
        if not scored.notices:  # made from these weights
            table = scored.evaluation
            patients = len({row.patient_id for row in table.rows})
            dices = ", ".join(f"{name} {measures['dice']}" for name, measures in table.summary().items())
            each = f"{len(table.cases)} cases of {patients} patients, each segmented by the one member that did not see it"
            return f"{dices} ({each}; with 95 % intervals over patients{own})"
    dices = ", ".join(f"{s['val/dice']:.4f}" if "val/dice" in s else "n/a" for s in fold_scores(cross).values())
    return f"{dices} (each member on its own fold, on the network's own grid{own})"
