"""Open what `unet evaluate` scored, with what is known of the training behind it: a run, all folds, or a scores.json alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import Notice, UserError
from ..evaluation.comparable import ScoredRun, Trained
from ..evaluation.read_scores import read_scores
from ..evaluation.table import EvaluationTable
from ..io.paths import existing
from .cross_folder import CrossFolder, is_cross_validation
from .run_folder import RunFolder

SCORES = "scores.json"


def open_scored_runs(paths: Sequence[Path | str]) -> list[ScoredRun]:
    """Each as `open_scored_run`. Raises: UserError with all that cannot be opened, or for scores that are named twice."""
    runs, problems = [], []
    for path in paths:
        try:
            runs.append(open_scored_run(path))
        except UserError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UserError(
            f"{len(problems)} runs cannot be compared: {'; '.join(str(problem).rstrip('.') for problem in problems)}"
        )
    files = [run.file for run in runs]
    twice = [run.name for k, run in enumerate(runs) if run.file in files[:k]]
    if twice:
        raise UserError(f"{', '.join(twice)} is named twice", next="Name different runs.")
    return runs


def open_scored_run(path: Path | str) -> ScoredRun:
    """Scores with their run.

    Args:
        path: a folder of a run or of all folds; one with a scores.json; or a scores.json, whose run is known in RUN/scores.
    Raises: UserError where there are no scores (with the command that makes them), or the run's manifest was edited.
    """
    name, path = str(path), existing(path)
    file = scores_file(path)
    evaluation = read_scores(file)
    for folder in (_folder(path), _folder(file.parent.parent)):
        if folder.run_file.is_file() and file == (folder.scores / SCORES).resolve():
            trained = _trained(folder)
            _refuse_others_scores(folder, evaluation, file)
            notices = _older_than_weights(folder, file)
            return ScoredRun(name=name, file=file, evaluation=evaluation, trained=trained, notices=notices)
    return ScoredRun(name=name, file=file, evaluation=evaluation)


def scores_file(path: Path) -> Path:
    """The scores.json that is meant by a path that exists. Raises: UserError where there is none."""
    if path.is_file():
        return path.resolve()
    folder = _folder(path)
    if folder.run_file.is_file():
        if not (folder.scores / SCORES).is_file():
            raise UserError("the run has no scores yet", where=path, next=_how_to_score(folder))
        return (folder.scores / SCORES).resolve()
    if (path / SCORES).is_file():
        return (path / SCORES).resolve()
    what = f"is neither a run folder (no {folder.run_file.name}) nor holds a {SCORES}"
    raise UserError(what, where=path, next="Name a folder of 'unet train', or the scores.json that 'unet evaluate' wrote.")


def _folder(path: Path) -> RunFolder:
    """A run's or a cross-validation's, if it is one."""
    return CrossFolder(path=path) if is_cross_validation(path) else RunFolder(path=path)


def _how_to_score(folder: RunFolder) -> str:
    place = shlex.quote(str(folder.path))
    if _fold(folder) is None:
        return (
            f"It was trained on all cases, so only others can judge it: predict them, then unet evaluate ... -o {place}/scores."
        )
    return f"Type: unet evaluate {place}"


def _fold(folder: RunFolder) -> int | Literal["all"] | None:
    """Which fold's cases are scored; "all": each case by the model that did not see it; None: it has seen all."""
    if isinstance(folder, CrossFolder):
        return "all"
    try:
        return folder.fold
    except (KeyError, TypeError, ValueError) as error:
        what = "does not say which fold was trained"
        raise UserError(what, where=folder.run_file, next="'unet train' writes it: restore the file.") from error


def _trained(folder: RunFolder) -> Trained:
    manifest, fold = folder.manifest(), _fold(folder)
    if folder.facts().get("manifest_digest") not in (None, manifest.digest):
        what = "has changed since the run began, so nobody can say what the run was trained on"
        raise UserError(what, where=folder.manifest_file, next="Undo the change.")
    seen = [case for case in manifest.cases if fold is None or case.fold != fold] if fold != "all" else []
    return Trained(
        manifest=manifest.digest,
        cases=frozenset(case.case for case in seen),
        patients=frozenset(case.patient_id for case in seen),
    )


def _refuse_others_scores(folder: RunFolder, evaluation: EvaluationTable, file: Path) -> None:
    """Raises: UserError for scores that say of themselves that they belong to another data set or fold."""
    known = {"manifest": (evaluation.manifest or None, folder.manifest().digest), "fold": (evaluation.fold, _fold(folder))}
    for name, (stated, own) in known.items():
        if stated not in (None, own):
            raise UserError(f"are not this run's scores: their {name} is another", where=file, next=_how_to_score(folder))


def _older_than_weights(folder: RunFolder, file: Path) -> tuple[Notice, ...]:
    """Scores of a checkpoint that a longer training has replaced since are not the run's any more."""
    runs = [folder.run(fold) for fold in folder.folds] if isinstance(folder, CrossFolder) else [folder]
    if all(not run.best.is_file() or run.best.stat().st_mtime <= file.stat().st_mtime for run in runs):
        return ()
    sentence = f"its scores are older than its best checkpoint; unet evaluate {shlex.quote(str(folder.path))} makes new ones"
    return (Notice(code="scores-outdated", sentence=sentence, where=str(folder.path)),)
