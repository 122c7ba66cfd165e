"""Open what `unet evaluate` scored, with what is known of the training behind it: a run folder, or a scores.json alone."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import Notice, UserError
from ..evaluation.comparable import ScoredRun, Trained
from ..evaluation.read_scores import read_scores
from ..io.paths import existing
from .guards import refuse_changed
from .run_folder import RunFolder

SCORES = "scores.json"


def open_scored_run(path: Path | str) -> ScoredRun:
    """Scores with their run.

    Args:
        path: a run folder; a folder with a scores.json; or a scores.json, whose run is known where it lies in RUN/scores.
    Raises: UserError where there are no scores (with the command that makes them), or the run's manifest was edited.
    """
    name, path = str(path), existing(path)
    file = scores_file(path)
    folder = RunFolder(path=file.parent.parent)
    if file.parent.name == folder.scores.name and folder.run_file.is_file():
        evaluation = read_scores(file)
        return ScoredRun(name=name, evaluation=evaluation, trained=_trained(folder), notices=_older_than_weights(folder, file))
    return ScoredRun(name=name, evaluation=read_scores(file))


def scores_file(path: Path) -> Path:
    """The scores.json that is meant by a path that exists. Raises: UserError where there is none."""
    if path.is_file():
        return path.resolve()
    folder = RunFolder(path=path)
    if folder.run_file.is_file():
        if not (folder.scores / SCORES).is_file():
            raise UserError("the run has no scores yet", where=path, next=_how_to_score(folder))
        return (folder.scores / SCORES).resolve()
    if (path / SCORES).is_file():
        return (path / SCORES).resolve()
    what = f"is neither a run folder (no {folder.run_file.name}) nor holds a {SCORES}"
    raise UserError(what, where=path, next="Name a folder of 'unet train', or the scores.json that 'unet evaluate' wrote.")


def _how_to_score(folder: RunFolder) -> str:
    place = shlex.quote(str(folder.path))
    if folder.fold is None:
        return f"It was trained on all cases, so only others can judge it: predict them, then unet evaluate ... -o {place}/scores."
    return f"Type: unet evaluate {place}"


def _trained(folder: RunFolder) -> Trained:
    manifest, fold = folder.manifest(), folder.fold
    refuse_changed(folder.manifest_file, manifest.digest, folder.facts().get("manifest_digest"))
    seen = [case for case in manifest.cases if fold is None or case.fold != fold]
    return Trained(
        manifest=manifest.digest,
        cases=frozenset(case.case for case in seen),
        patients=frozenset(case.patient_id for case in seen),
    )


def _older_than_weights(folder: RunFolder, file: Path) -> tuple[Notice, ...]:
    """Scores of a checkpoint that a longer training has replaced since are not the run's any more."""
    if not folder.best.is_file() or folder.best.stat().st_mtime <= file.stat().st_mtime:
        return ()
    sentence = f"its scores are older than its best checkpoint; unet evaluate {shlex.quote(str(folder.path))} makes new ones"
    return (Notice(code="scores-outdated", sentence=sentence, where=str(folder.path)),)
