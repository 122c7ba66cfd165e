"""What to try next after a training: at most three commands that follow from its hints and scores, none that always holds."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median

from ..cores import usable_cores
from .chosen import chosen_facts
from .hints import FEW_PATIENTS, Hint
from .not_found import RARE, NotFound, too_fast
from .outcome import Outcome

MOST = 3
OUTLIER = 0.2  # of Dice below the median case: look at the case before the network
LOPSIDED = 0.1  # between precision and recall
WAITING = 0.2  # share of the time from which more workers are worth it
FLIPS_BRING = 0.002  # of Dice
WIDEST, MOST_DROPOUT = 64, 0.5  # the paper's
STRONGER = {
    "augmentation.spatial_probability": 0.9,
    "augmentation.rotation_deg": 30.0,
    "augmentation.scaling_fraction": 0.25,
}
Steps = Iterator["NextStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Why, and what to type."""

    why: str
    command: str


def next_steps(outcome: Outcome, hint: Hint, missing: list[NotFound]) -> list[NextStep]:
    """The most telling first."""
    return list(islice(_all(outcome, hint, missing), MOST))


def _all(outcome: Outcome, hint: Hint, missing: list[NotFound]) -> Steps:
    if missing:
        yield from _for_missing(outcome, missing)
    yield from CURVE_STEPS.get(hint.kind, _nothing)(outcome)
    if outcome.results:
        yield from _for_outlier(outcome)
        yield from _for_lopsided(outcome, {one.structure for one in missing})
        yield from _for_flips(outcome)
        yield from _for_few(outcome)
    yield from _for_waiting(outcome)


def _for_missing(outcome: Outcome, missing: list[NotFound]) -> Steps:
    names, run = ", ".join(one.structure for one in missing), outcome.folder.path
    command = f"unet check {_quoted(run / 'manifest.json')} --picture {_quoted(f'{run}_masks.png')}"
    yield NextStep(why=f"See whether the masks of {names} lie where they should, under the right name.", command=command)
    if too_fast(outcome):
        yield from _slower(outcome)
    if outcome.narrow:
        rows, columns = outcome.fitting_patch
        yield _train(outcome, "Take a patch no larger than the slices.", "patch", {"patch": f"[{rows},{columns}]"})
    weighs = outcome.experiment.network.head == "softmax" or len(outcome.names) > 1
    if outcome.experiment.loss.class_weights == "none" and weighs and any(one.share < RARE for one in missing):
        yield _train(outcome, f"Let rare structures ({names}) weigh more.", "census", {"loss.class_weights": "census"})


def _slower(outcome: Outcome) -> Steps:
    rate = float(f"{outcome.experiment.learning_rate / 3:.1g}")
    yield _train(outcome, "Learn more slowly: a third of the rate.", "slower", {"learning_rate": rate})


def _longer(outcome: Outcome) -> Steps:
    budget_s = outcome.number("budget_s")
    if budget_s and not outcome.one_of_many:
        command = f"unet train --resume -o {_quoted(outcome.folder.path)} --time-budget {_time(2 * budget_s)}"
        yield NextStep(why="Go on with it, for twice the time in all.", command=command)
        return
    yield _train(outcome, "Train anew for twice as long.", "longer", {}, longer=2.0)


def _against_overfitting(outcome: Outcome) -> Steps:
    settings = outcome.experiment.augmentation
    weaker = {k: v for k, v in STRONGER.items() if getattr(settings, k.removeprefix("augmentation.")) < v}
    if weaker:
        yield _train(outcome, "Distort the training samples more.", "distorted", weaker)
    dropout = outcome.experiment.network.dropout
    if dropout < MOST_DROPOUT:
        more = min(MOST_DROPOUT, dropout + 0.2)
        yield _train(outcome, "Drop more out.", "dropout", {"network.dropout": round(more, 2)})
    elif outcome.experiment.network.width > 16:
        yield _train(outcome, "A narrower network learns less by heart.", "narrower", {"network.width": _width(outcome, 0.5)})


def _against_underfitting(outcome: Outcome) -> Steps:
    experiment = outcome.experiment
    if experiment.network.width < WIDEST:
        yield _train(outcome, "A wider network can learn more.", "wider", {"network.width": _width(outcome, 2)})
    if experiment.network.normalization == "none":
        change = {"network.normalization": "batch", "learning_rate": 1e-3}
        yield _train(outcome, "Batch normalisation learns faster, at a higher rate.", "batch", change)
    elif experiment.network.dropout > 0.1:
        yield _train(outcome, "Restrain it less.", "dropout", {"network.dropout": 0.1})


def _nothing(outcome: Outcome) -> Steps:
    yield from ()


CURVE_STEPS = {
    "too few epochs": _longer,
    "still rising": _longer,
    "loss falls": _longer,
    "unsteady": _slower,
    "overfitting": _against_overfitting,
    "underfitting": _against_underfitting,
}


def _for_outlier(outcome: Outcome) -> Steps:
    dices = [result.dice for result in outcome.results]
    worst = min(outcome.results, key=lambda result: result.dice)
    if len(dices) >= 3 and median(dices) - worst.dice >= OUTLIER:
        why = f"{worst.case} has a Dice of {worst.dice:.2f}, the median case {median(dices):.2f}: see how far off it is, in mm."
        yield NextStep(why=why, command=f"unet evaluate {_quoted(outcome.folder.path)}")


def _for_lopsided(outcome: Outcome, missing: set[str]) -> Steps:
    """The structure with the largest distance between false alarms and misses, of those that were found."""
    counts, found = outcome.counts, []
    for position, name in enumerate(outcome.names):
        tp, fp, fn = (int(part[position]) for part in (counts.tp, counts.fp, counts.fn))
        if tp and name not in missing:
            found.append((tp / (tp + fp), tp / (tp + fn), name))
    if not found:
        return
    precision, recall, name = max(found, key=lambda one: abs(one[0] - one[1]))
    share = outcome.experiment.foreground_fraction
    numbers = f"of the pixels marked as {name}, {precision:.0%} are right, and of its own {recall:.0%} are marked"
    if recall - precision >= LOPSIDED and share > 0.33:
        change = {"foreground_fraction": 0.33}
        yield _train(outcome, f"Too much is marked ({numbers}): show more surroundings.", "surroundings", change)
    if precision - recall >= LOPSIDED and share < 0.9:
        change = {"foreground_fraction": 0.9}
        yield _train(outcome, f"Too little is marked ({numbers}): show it more often.", "foreground", change)


def _for_flips(outcome: Outcome) -> Steps:
    flips = chosen_facts(outcome.folder).get("flips")
    if flips and all(flips["dice"].values()):
        gain = flips["dice"]["with"]["mean"] - flips["dice"]["without"]["mean"]
        if gain >= FLIPS_BRING:
            why = f"Mirror images raise the Dice by {gain:.4f} on the validated cases."
            yield NextStep(why=why, command=f"unet evaluate {_quoted(outcome.folder.path)} --flips")


def _for_few(outcome: Outcome) -> Steps:
    count = len({outcome.patients[result.case] for result in outcome.results})
    if count >= FEW_PATIENTS or outcome.one_of_many or len(outcome.manifest.folds) < 2:
        return
    run = outcome.folder.path
    command = f"unet train {_quoted(run / 'experiment.yaml')} --folds all -o {_quoted(f'{run}_cv')}"
    if budget_s := outcome.number("budget_s"):
        command += f" --time-budget {_time(budget_s * len(outcome.manifest.folds))}"
    patients = "patient was" if count == 1 else "patients were"
    why = f"Only {count} {patients} validated: score every case by a network that did not see it."
    yield NextStep(why=why, command=command)


def _for_waiting(outcome: Outcome) -> Steps:
    shares = [share for _, share in outcome.points("train/waiting_fraction")]
    workers = outcome.experiment.workers
    if shares and median(shares) >= WAITING and workers < usable_cores():
        why = f"The network waited {median(shares):.0%} of the time for samples: prepare them by one process more."
        yield _train(outcome, why, "workers", {"workers": workers + 1})


def _train(outcome: Outcome, why: str, suffix: str, settings: Mapping[str, object], *, longer: float = 1.0) -> NextStep:
    """Train anew, with some settings changed, into a folder beside this one."""
    run, fold = outcome.folder.path, outcome.folder.fold
    words = ["unet train", _quoted(run / "experiment.yaml"), "--fold", "none" if fold is None else str(fold)]
    budget_s = outcome.number("budget_s")
    if budget_s:
        words += ["--time-budget", _time(longer * budget_s)]
    elif longer > 1:
        words += ["--epochs", str(round(longer * outcome.experiment.epochs))]
    words += [f"--set {_quoted(f'{name}={value}')}" for name, value in settings.items()]
    return NextStep(why=why, command=" ".join([*words, "-o", _quoted(f"{run}_{suffix}")]))


def _width(outcome: Outcome, factor: float) -> int:
    return min(WIDEST, max(1, round(outcome.experiment.network.width * factor)))


def _time(seconds: float) -> str:
    """As `--time-budget` takes it: whole minutes where it is minutes."""
    whole = math.ceil(seconds)
    return f"{whole // 60}m" if whole % 60 == 0 else f"{whole}s"


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
