"""Score a run's validation cases on their own grids: what the clinic would get, against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from ..bundle.bundle import network_with
from ..bundle.recipe import Recipe
from ..data.load import load_image, load_label
from ..errors import UserError
from ..evaluation.table import CaseMasks, EvaluationTable
from ..network.tiling import WholeSlice
from ..progress import bar
from ..training.checkpoint import load_checkpoint
from ..training.run_folder import RunFolder, open_run_folder
from ..training.split import split
from .segment import segment


def evaluate_run(run_folder: Path | str, out: Path) -> EvaluationTable:
    """Segment and score the cases of the run's own fold with its best checkpoint; the scores go into the run in MLflow, too.

    Args:
        run_folder: of a training with a validation fold.
        out: where scores.csv and scores.json go.
    Raises: UserError where the run validated nothing.
    """
    folder = open_run_folder(run_folder)
    if folder.fold is None:
        raise UserError("the run trained on all cases: none is left to evaluate on", where=folder.path)
    table = EvaluationTable.from_cases(_cases(folder), folder.manifest().table)
    _track(folder, table, table.write(out))
    return table


def _cases(folder: RunFolder) -> Iterator[CaseMasks]:
    manifest, experiment = folder.manifest(), folder.experiment()
    channels = folder.image_channels
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = experiment.network_settings(manifest.table, channels)
    network = network_with(experiment.network.name, settings, load_checkpoint(folder.best)["network"], where=folder.path)
    whole = WholeSlice(network).to(device, memory_format=torch.channels_last).eval()  # type: ignore[arg-type, call-overload]
    recipe = Recipe(
        preprocessing=experiment.preprocessing,
        head=experiment.network.head,
        table=manifest.table,
        image_channels=channels,
    )
    _, validation = split(manifest, folder.fold)
    for case in bar(validation, title="evaluating", unit="case"):
        image = load_image(manifest, case)
        truth = load_label(manifest, case, image)
        predicted = segment(whole, image, recipe, device=device)
        yield CaseMasks(case.case, case.patient_id, truth.array, predicted, image.affine if case.spacing_known else None)


def _track(folder: RunFolder, table: EvaluationTable, files: tuple[Path, ...]) -> None:
    """The scores into the run's own page in MLflow."""
    from ..training.records import tracker_of

    if not folder.facts().get("mlflow_run_id"):
        return
    tracker = tracker_of(folder)
    tracker.log_scores({f"evaluation/{name}": value for name, value in table.metrics().items()})
    for file in files:
        tracker.log_file(file, "scores")
    tracker.close("FINISHED")
