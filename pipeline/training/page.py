"""The page a training ends with: result, data, plan, curves, hints, worst cases, commands. Self-contained HTML."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from ..data.case_store import StoredCase
from ..data.manifest import Case
from ..evaluation.scores import SCORES, mean
from ..report.page import Page
from .experiment import Experiment
from .hints import Hint, caution, curve_hint, curves_of
from .next_steps import next_steps
from .not_found import NotFound, not_found
from .outcome import Outcome, outcome_of
from .page_chosen import add_chosen
from .page_pictures import add_picture
from .reasons import reasons_of
from .run_folder import RunFolder
from .split import split
from .validation import CaseScores

LOSS_NAMES = {"dice_focal": "DiceFocal", "dice": "Dice", "focal": "focal", "cross_entropy": "cross entropy"}
WORST = 3


def write_training_page(folder: RunFolder, results: Sequence[CaseScores], cases: Sequence[StoredCase] = ()) -> Path:
    """Write `report.html` into the run folder, after everything else is in it.

    Args:
        results: of the best checkpoint on the validation cases; empty where there were none.
        cases: the same cases as they are stored.
    """
    outcome = outcome_of(folder, results, cases)
    hint, missing = curve_hint(curves_of(outcome)), not_found(outcome)
    page = Page(f"Training: {outcome.experiment.name}", _subtitle(outcome))
    _add_result(page, outcome)
    _add_data(page, outcome)
    _add_plan(page, outcome)
    add_curves(page, outcome)
    _add_hints(page, outcome, hint, missing)
    _add_next_steps(page, outcome, hint, missing)
    if results:
        _add_worst(page, outcome)
        add_chosen(page, outcome)
    page.text("", heading="Commands")
    run = shlex.quote(str(folder.path))
    bundle = f"unet bundle build {run} -o {shlex.quote(f'bundles/{folder.path.name}')}"
    page.commands([f"unet evaluate {run}", bundle] if results else [bundle])
    return page.write(folder.path / "report.html")


def _subtitle(outcome: Outcome) -> str:
    fold = "all cases, no validation" if outcome.folder.fold is None else f"fold {outcome.folder.fold}"
    done, used_s = outcome.facts.get("epochs_done"), outcome.number("used_s")
    took = f"{used_s / 60:.0f} min" if used_s >= 90 else f"{used_s:.0f} s"
    return f"{fold}; {done} {'epoch' if done == 1 else 'epochs'} in {took}"


def _add_result(page: Page, outcome: Outcome) -> None:
    if not outcome.results:
        page.text("All cases trained, none was validated: what to expect of these weights, the folds say.", heading="Result")
        return
    best, cases = outcome.facts.get("best_dice"), len(outcome.results)
    head = "n/a" if best is None else f"{float(str(best)):.3f}"
    of = "" if len(outcome.names) == 1 else f" (mean of {len(outcome.names)} structures)"
    page.text(
        f"Dice {head}{of} after epoch {outcome.facts.get('best_epoch')}, the best. Scored are the {cases} validated cases on "
        "the network's grid, without post-processing.",
        heading="Result",
    )
    rows, spread = [], []
    for position, name in enumerate(outcome.names):
        means = [mean(getattr(result.scores[position], measure) for result in outcome.results) for measure in SCORES]
        rows.append([name, *(one.value for one in means), means[0].count, means[0].left_out])
        there = [dice for dice in outcome.dices(name) if dice is not None]
        spread.append([name, *((min(there), median(there), max(there)) if there else (None, None, None))])
    caption = "Mean over the cases that hold the structure or were found to (n); n/a: neither, and left out."
    page.table(["structure", *_titles(), "n", "n/a"], rows, caption)
    page.table(["structure", "lowest", "median", "highest"], spread, "Dice of single cases.")


def _titles() -> list[str]:
    return [{"dice": "Dice", "iou": "IoU"}.get(measure, measure) for measure in SCORES]


def _add_data(page: Page, outcome: Outcome) -> None:
    training, validation = split(outcome.manifest, outcome.folder.fold)
    seen = reasons_of(outcome.folder.experiment_file).get("manifest", "")
    page.text(f"{outcome.manifest.name}. {seen}".strip(), heading="Data")
    rows = [_counted(name, cases) for name, cases in (("training", training), ("validation", validation)) if cases]
    if validation:
        rows.append(_counted("both", [*training, *validation]))
    caption = "No patient is in both." if validation else "All cases train."
    page.table(["", "cases", "patients", "modality"], rows, caption)
    shares, caption = _shares(outcome)
    if shares:
        page.table(["structure", "% of the pixels"], list(zip(outcome.names, shares, strict=True)), caption)


def _counted(name: str, cases: Sequence[Case]) -> list[object]:
    modalities = sorted({case.modality or "not said" for case in cases})
    return [name, len(cases), len({case.patient_id for case in cases}), ", ".join(modalities)]


def _shares(outcome: Outcome) -> tuple[list[float], str]:
    """Of each structure, and of which cases: those that somebody has counted already."""
    counted = outcome.facts.get("class_pixels")
    structures = len(outcome.names)
    if isinstance(counted, list) and len(counted) == structures + 1:  # the background first
        return [100 * part / sum(counted) for part in counted[1:]], "In the training cases, on the network's grid."
    if not outcome.results:
        return [], ""
    counts = outcome.counts
    true = counts.tp + counts.fn
    return [float(one) for one in 100 * true / (true + counts.fp + counts.tn)], "In the validated cases, on the network's grid."


def _add_plan(page: Page, outcome: Outcome) -> None:
    file = outcome.folder.experiment_file
    reasons, settings, usual = reasons_of(file), _flat(asdict(outcome.experiment)), _flat(asdict(Experiment()))
    rows = [
        [name, _plain(value), _plain(usual[name]), reasons.get(name, "")]
        for name, value in settings.items()
        if name not in ("name", "manifest") and (value != usual[name] or name in reasons)
    ]
    page.text("Settings that are not the default, or were chosen for a reason. experiment.yaml holds all.", heading="Plan")
    columns = ["setting", "value", "default", "why"] if reasons else ["setting", "value", "default"]
    page.table(columns, [row[: len(columns)] for row in rows], "The defaults are the paper's network.")


def _flat(data: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_plain, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_curves(page: Page, outcome: Outcome) -> None:
    """Loss, Dice of each structure and seconds of a step over the epochs, as far as the log holds them."""
    page.text("", heading="Curves")
    loss = LOSS_NAMES[outcome.experiment.loss.name]
    page.curves("Loss", {"training loss": outcome.points("train/loss")}, "epoch", f"{loss} loss")
    dices = {name: outcome.points(f"val/dice/{name}") for name in outcome.names}
    if any(dices.values()):
        page.curves("Dice on the validation cases", dices, "epoch", "Dice")
    steps, waiting = outcome.points("train/step_s"), outcome.points("train/waiting_fraction")
    if steps and waiting:  # the first runs did not measure them
        page.curves("Time of a step", {"a step": steps, "of it waiting for samples": _product(steps, waiting)}, "epoch", "s")
        step_s, share = (median(value for _, value in points) for points in (steps, waiting))
        page.text(f"A step took {step_s:.3g} s, {share:.0%} of it waiting for samples (medians over the epochs).")


def _product(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> list[tuple[float, float]]:
    factors = dict(other)
    return [(epoch, value * factors[epoch]) for epoch, value in one if epoch in factors]


def _add_hints(page: Page, outcome: Outcome, hint: Hint, missing: list[NotFound]) -> None:
    page.text(hint.text, heading="What the curves say")
    for one in missing:
        page.text(f"{one.structure} was not found (Dice {one.dice:.3f}). What may be behind it:")
        page.items(one.causes)
    if words := caution(outcome):
        page.notice(words)


def _add_next_steps(page: Page, outcome: Outcome, hint: Hint, missing: list[NotFound]) -> None:
    steps = next_steps(outcome, hint, missing)
    page.text("" if steps else "Nothing follows from these curves and scores.", heading="What to try next")
    for step in steps:
        page.text(step.why)
        page.commands([step.command])


def _add_worst(page: Page, outcome: Outcome) -> None:
    worst = sorted(outcome.results, key=lambda result: result.dice)[:WORST]
    rows = [[result.case, result.dice, *(score.dice for score in result.scores)] for result in worst]
    page.text("", heading="Worst cases")
    names = outcome.names if len(outcome.names) > 1 else ()
    page.table(["case", "mean" if names else "Dice", *names], [row[: 2 + len(names)] for row in rows], "The lowest Dice.")
    for rank in ("worst", "median", "best"):
        add_picture(page, outcome.folder.pictures / f"{rank}.png", rank)
