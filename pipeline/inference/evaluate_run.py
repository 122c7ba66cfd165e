"""Score a run's validation cases on their own grids: what the clinic would get, against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..bundle.bundle import network_with
from ..bundle.recipe import Recipe
from ..data.load import load_image, load_label
from ..errors import Notice, UserError
from ..evaluation.table import CaseMasks, EvaluationTable
from ..network.mirrored import mirrored
from ..network.tiling import WholeSlice
from ..progress import bar
from ..training.checkpoint import load_checkpoint
from ..training.chosen import chosen_for, flips_of
from ..training.run_folder import RunFolder, open_run_folder
from ..training.split import split
from .segment import segment

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def evaluate_run(run_folder: Path | str, out: Path, *, flips: bool = False) -> EvaluationTable:
    """Segment and score the cases of the run's own fold with its best checkpoint; the scores go into the run in MLflow, too.

    Args:
        run_folder: of a training with a validation fold.
        out: where scores.csv and scores.json go.
        flips: average over the mirror images of each slice, as `unet predict --flips` does.
    Raises: UserError where the run validated nothing, or never saw mirror images.
    """
    folder = open_run_folder(run_folder)
    if folder.fold is None:
        raise UserError("the run trained on all cases: none is left to evaluate on", where=folder.path)
    state = load_checkpoint(folder.best)
    recipe = recipe_of(folder, state["epoch"])
    cases = _cases(folder, network_of(folder, state["network"], recipe, flips=flips), recipe)
    table = EvaluationTable.from_cases(cases, folder.manifest().table, notices=notices_of(recipe, flips=flips))
    table = replace(table, manifest=folder.manifest().digest, fold=folder.fold)
    _track(folder, table, table.write(out), group="evaluation_flips" if flips else "evaluation")
    return table


def recipe_of(folder: RunFolder, epoch: int) -> Recipe:
    """How the weights of this epoch are used."""
    manifest, experiment, chosen = folder.manifest(), folder.experiment(), chosen_for(folder, epoch)
    return Recipe(
        preprocessing=experiment.preprocessing,
        head=experiment.network.head,
        table=manifest.table,
        image_channels=folder.image_channels,
        postprocessing=chosen.postprocessing,
        temperature=chosen.temperature,
        flips=flips_of(experiment, manifest.table),
    )


def network_of(folder: RunFolder, weights: Mapping[str, torch.Tensor], recipe: Recipe, *, flips: bool = False) -> nn.Module:
    """The run's network with these weights, for slices of any size, on the device."""
    experiment = folder.experiment()
    settings = experiment.network_settings(recipe.table, recipe.image_channels)
    whole = WholeSlice(network_with(experiment.network.name, settings, weights, where=folder.path))
    network = mirrored(whole, recipe.flips, recipe.head) if flips else whole
    return network.to(DEVICE, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def notices_of(recipe: Recipe, *, flips: bool = False) -> Iterator[Notice]:
    """What a reader of the scores must know of how the masks came about."""
    if flips:
        yield Notice(code="flips", sentence=f"averaged over mirror images along {' and '.join(recipe.flips)}")
    if any(recipe.postprocessing.values()):
        steps = "; ".join(f"{name}: {steps}" for name, steps in recipe.postprocessing.items() if steps)
        sentence = f"the post-processing ({steps}) was chosen on these very cases: their scores are slightly too good"
        yield Notice(code="chosen-here", sentence=sentence)


def _cases(folder: RunFolder, network: nn.Module, recipe: Recipe) -> Iterator[CaseMasks]:
    manifest = folder.manifest()
    _, validation = split(manifest, folder.fold)
    for case in bar(validation, title="evaluating", unit="case"):
        image = load_image(manifest, case)
        truth = load_label(manifest, case, image)
        predicted = segment(network, image, recipe, device=DEVICE)
        yield CaseMasks(case.case, case.patient_id, truth.array, predicted, image.affine if case.spacing_known else None)


def _track(folder: RunFolder, table: EvaluationTable, files: tuple[Path, ...], *, group: str) -> None:
    """The scores into the run's own page in MLflow, which goes on saying how the training ended."""
    from ..training.records import tracker_of

    if not folder.facts().get("mlflow_run_id"):
        return
    tracker = tracker_of(folder, over=True)
    tracker.log_scores({f"{group}/{name}": value for name, value in table.metrics().items()})
    for file in files:
        tracker.log_file(file, "scores")
    tracker.close()
