"""Train every fold of a data set, one after the other, by one experiment. Each fold is an ordinary run in its own folder.

What is left of a time budget is divided among the folds that are left. Knows nothing of the masks that follow: see
`inference/out_of_fold.py`.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..data.manifest import Manifest, read_manifest, write_manifest
from ..errors import UserError
from ..evaluation.scores import mean
from ..io.paths import existing, write_text
from ..progress import say
from .cross_folder import CrossFolder, open_cross_folder
from .experiment import Experiment, experiment_yaml
from .guards import alone_in, begun, gone_unless_learned, refuse_occupied, writing_into
from .lead import led
from .open_experiment import YAML, open_experiment
from .records import tracker_of
from .run_folder import RunFolder
from .split import split
from .train import prepare, run_session


@led
def cross_validate(
    source: Path | str,
    folder: Path | str,
    *,
    budget_s: float | None = None,
    used_s: float = 0.0,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> CrossFolder:
    """Train each fold from the beginning.

    A manifest is planned once, from the training cases of its first fold, so that this fold is trained as
    `train(source, fold=0)` would: no fold is planned by itself, else they would not be one experiment.

    Args:
        source, used_s, settings, data_root: as in `train`.
        folder: where everything goes; empty or absent. Gone again where data or budget do not allow a start.
        budget_s: wall-clock seconds of all folds together from this call on.
    Returns: the folder; `unfinished` names the folds that a signal left.
    Raises: UserError for anything wrong with data or settings.
    """
    began_s = time.monotonic() - used_s
    cross = CrossFolder(path=Path(folder))
    refuse_occupied(cross)
    first, count = _first_fold(Path(source), data_root)
    share_s = None if budget_s is None else budget_s / count
    experiment, manifest, reasons = open_experiment(Path(source), first, share_s, data_root, settings or {})
    for fold in manifest.folds:
        split(manifest, fold)
    runs = map(cross.run, manifest.folds)
    with begun(cross, lambda made: _prepare(made, experiment, manifest, reasons, budget_s)), gone_unless_learned(cross, *runs):
        return _train_folds(cross, budget_s, began_s)


@led
def resume_folds(
    folder: Path | str, *, budget_s: float | None = None, used_s: float = 0.0, data_root: Path | str | None = None
) -> CrossFolder:
    """Go on with the fold that was stopped, then with the rest; finished folds are not touched.

    Args:
        budget_s: a new budget for all folds together, seconds used so far included; absent: the one it began with.
        used_s, data_root: as in `resume`.
    Raises: UserError where a budget is given and no fold is left, or experiment or manifest have changed since it began.
    """
    began_s = time.monotonic() - used_s
    cross = open_cross_folder(folder)
    if budget_s is not None and not cross.unfinished:
        raise UserError("every fold is finished", where=cross.path, next="For longer trainings, train anew with -o FOLDER.")
    if data_root is not None:
        write_manifest(read_manifest(cross.manifest_file, data_root=data_root), cross.manifest_file)
    cross.check()
    if budget_s is None and cross.facts().get("budget_s") is not None:
        budget_s = float(str(cross.facts()["budget_s"]))
    with writing_into(cross), alone_in(cross):
        return _train_folds(cross, budget_s, began_s)


def _first_fold(source: Path, data_root: Path | str | None) -> tuple[int, int]:
    """Number of the first fold, and how many there are; of an experiment file these decide nothing."""
    if existing(source).suffix.lower() in YAML:
        return 0, 1
    folds = read_manifest(source, data_root=data_root).folds
    return folds[0], len(folds)


def _prepare(
    cross: CrossFolder, experiment: Experiment, manifest: Manifest, reasons: Mapping[str, str], budget_s: float | None
) -> None:
    write_manifest(manifest, cross.manifest_file)
    write_text(cross.experiment_file, experiment_yaml(replace(experiment, manifest=cross.manifest_file.name), reasons))
    digests = {"experiment_digest": experiment.digest, "manifest_digest": manifest.digest}
    # last: its presence makes the folder a cross-validation
    cross.note({"folds": list(manifest.folds), "budget_s": budget_s, "used_s": {}, "finished": False, **digests})


def _train_folds(cross: CrossFolder, budget_s: float | None, began_s: float) -> CrossFolder:
    """Train what is left.

    Args:
        began_s: the moment of `time.monotonic` from which this process counts; what lies before its first fold is that fold's.
    """
    cross.note({"budget_s": budget_s})
    folds = cross.folds
    for fold in cross.unfinished:
        say(f"unet: fold {fold}, {folds.index(fold) + 1} of {len(folds)}")
        before_s = cross.used_s(fold)
        try:
            run = _train_fold(cross, fold, _share_s(cross, budget_s), began_s)
        except UserError as error:
            raise _of_fold(error, cross, fold) from error
        if not run.facts().get("finished"):
            return cross
        now_s = time.monotonic()
        cross.note_used(fold, before_s + now_s - began_s)
        began_s = now_s
        gc.collect()  # engine and handlers hold each other: the next fold needs the memory of this one
    if not cross.facts().get("finished"):
        _track_means(cross)
        cross.note({"finished": True})
    return cross


def _of_fold(error: UserError, cross: CrossFolder, fold: int) -> UserError:
    """A budget that is gone before a later fold begins: what the earlier ones learned stays."""
    if error.where != "--time-budget" or fold == cross.folds[0]:
        return error
    more = f"Give all folds together more: unet train --resume --time-budget TIME -o {cross.path}"
    return UserError(f"fold {fold}: {error.what}", where=error.where, next=more)


def _share_s(cross: CrossFolder, budget_s: float | None) -> float | None:
    """Seconds for the next fold, those that it has already used included: an equal part of what the finished ones left."""
    if budget_s is None:
        return None
    left = cross.unfinished
    return max(0.0, budget_s - sum(cross.used_s(fold) for fold in cross.folds if fold not in left)) / len(left)


def _train_fold(cross: CrossFolder, fold: int, share_s: float | None, began_s: float) -> RunFolder:
    run, manifest = cross.run(fold), cross.manifest()
    training, validation = split(manifest, fold)
    if run.run_file.is_file():
        write_manifest(manifest, run.manifest_file)  # the data may lie elsewhere now
    else:
        shutil.rmtree(run.path, ignore_errors=True)  # half-made by a process that was killed
        prepare(run, cross.experiment(), manifest, {}, fold=fold, budget_s=share_s)
        write_text(run.experiment_file, cross.experiment_file.read_text(encoding="utf-8"))  # with the plan's reasons
    with gone_unless_learned(run, run), alone_in(run):
        return run_session(run, training, validation, began_s=began_s, budget_s=share_s, place=cross.path)


def fold_scores(cross: CrossFolder) -> dict[int, dict[str, float]]:
    """Fold → the validation scores of its best epoch, as its log has them ("val/dice" and so on)."""
    found = {}
    for fold, run in cross.runs.items():
        best = run.facts().get("best_epoch")
        line = next((line for line in run.history() if line["epoch"] == best), {})
        found[fold] = {key: float(str(value)) for key, value in line.items() if key.startswith("val/")}
    return found


def _track_means(cross: CrossFolder) -> None:
    """Onto the training in MLflow, above its folds and under their names: the means of their scores."""
    each = fold_scores(cross)
    names = dict.fromkeys(name for scores in each.values() for name in scores)
    means = {name: mean(scores.get(name) for scores in each.values()).value for name in names}
    tracker = tracker_of(cross.run(cross.folds[-1]), over=True)
    tracker.log_scores(means, training=True)
    tracker.log_file(cross.experiment_file, training=True)
    tracker.close()
