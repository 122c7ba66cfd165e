"""The page a training ends with: settings, curves, scores, pictures. Self-contained HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..evaluation.scores import SCORES, mean
from ..report.page import Page
from .run_folder import RunFolder
from .validation import CaseScores

LOSS_NAMES = {"dice_focal": "DiceFocal", "dice": "Dice", "focal": "focal", "cross_entropy": "cross entropy"}


def write_training_page(folder: RunFolder, results: Sequence[CaseScores]) -> Path:
    """Write `report.html` into the run folder.

    Args:
        results: of the best checkpoint on the validation cases; empty where there were none.
    """
    experiment, facts = folder.experiment(), folder.facts()
    names = folder.manifest().table.names
    fold = "all cases, no validation" if folder.fold is None else f"fold {folder.fold}"
    page = Page(f"Training: {experiment.name}", f"{fold}; {facts.get('epochs_done')} epochs in {facts.get('used_s')} s")
    if results:
        rows = [
            [name, *(str(mean(getattr(r.scores[i], measure) for r in results)) for measure in SCORES)]
            for i, name in enumerate(names)
        ]
        caption = f"Best epoch {facts.get('best_epoch')}: mean over the {len(results)} validated cases, on the network's grid."
        page.table(["structure", *SCORES], rows, caption)
    add_curves(page, folder)
    for rank in ("best", "median", "worst"):
        picture = folder.pictures / f"{rank}.png"
        if results and picture.is_file():
            page.picture(
                picture, f"The {rank} validated case: prediction in colour, truth in white.", f"{rank} case with outlines"
            )
    page.text(folder.experiment_file.read_text(encoding="utf-8"), heading="Experiment")
    page.commands([f"unet evaluate {folder.path}", f"unet bundle build {folder.path} -o bundles/{experiment.name}"])
    return page.write(folder.path / "report.html")


def add_curves(page: Page, folder: RunFolder) -> None:
    """The loss and, where cases were validated, the Dice of each structure over the epochs."""
    history = folder.history()
    loss = LOSS_NAMES[folder.experiment().loss.name]
    page.curves("Loss", {"training loss": _points(history, "train/loss")}, "epoch", f"{loss} loss")
    dices = {name: _points(history, f"val/dice/{name}") for name in folder.manifest().table.names}
    if any(dices.values()):
        page.curves("Dice on the validation cases", dices, "epoch", "Dice")


def _points(history: Sequence[dict[str, object]], key: str) -> list[tuple[float, float]]:
    return [(float(str(line["epoch"])), float(str(line[key]))) for line in history if line.get(key) is not None]
