"""Train one fold: prepares the run folder, then lets `session.py` run. The door for Python and for `unet train`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ..data.manifest import Case, Manifest, read_manifest, write_manifest
from ..errors import UserError
from ..io.paths import existing
from ..progress import say
from .experiment import Experiment, experiment_from, experiment_yaml, read_experiment
from .run_folder import RunFolder, open_run_folder, write_text


def train(
    source: Path | str,
    run_folder: Path | str,
    *,
    fold: int | None = 0,
    epochs: int | None = None,
    budget_s: float | None = None,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> RunFolder:
    """Train from the beginning.

    Args:
        source: a manifest (JSON; the experiment is planned from the data) or an experiment (YAML, which names its manifest).
        run_folder: where everything goes; must not hold a run.
        fold: the fold that is validated; None: train on all cases without validation.
        epochs: overrides the experiment's.
        budget_s: wall-clock seconds for the whole process; the schedule ends with it.
        settings: overrides, {"network.width": 32}.
        data_root: where the data lie now, if not where the manifest says.
    Raises: UserError for anything wrong with data or settings.
    """
    folder = RunFolder(path=Path(run_folder))
    if folder.run_file.is_file():
        raise UserError(
            "holds a run already", where=folder.path, next="--resume goes on with it; or choose another folder with -o."
        )
    experiment, manifest, reasons = _open(Path(source), fold, budget_s, data_root)
    if epochs is not None:
        settings = {**(settings or {}), "epochs": epochs}
    if settings:
        experiment = override(experiment, settings)
        reasons = {key: why for key, why in reasons.items() if key not in settings}
    experiment.check_fits(manifest.table)
    training, validation = split(manifest, fold)
    _prepare(folder, experiment, manifest, reasons, fold=fold, budget_s=budget_s)
    return _run(folder, training, validation)


def resume(run_folder: Path | str, *, budget_s: float | None = None, data_root: Path | str | None = None) -> RunFolder:
    """Go on with a run that was stopped, from its last checkpoint, to the same end.

    Args:
        budget_s: a new budget for the whole run, seconds used so far included; absent: the one it began with.
    Raises: UserError where the run is finished.
    """
    folder = open_run_folder(run_folder)
    facts = folder.facts()
    if facts.get("finished") and budget_s is None:
        raise UserError("this run is finished", where=folder.path, next="A longer --time-budget goes on with it.")
    if data_root is not None:
        write_manifest(read_manifest(folder.manifest_file, data_root=data_root), folder.manifest_file)
    if budget_s is not None:
        folder.note({"budget_s": budget_s})
    folder.note({"finished": False})
    training, validation = split(folder.manifest(), folder.fold)
    return _run(folder, training, validation)


def split(manifest: Manifest, fold: int | None) -> tuple[list[Case], list[Case]]:
    """Training and validation cases. Raises: UserError for a fold that has no cases, or leaves none to train on."""
    if fold is None:
        return list(manifest.cases), []
    validation = [case for case in manifest.cases if case.fold == fold]
    training = [case for case in manifest.cases if case.fold != fold]
    if not validation or not training:
        folds = ", ".join(map(str, manifest.folds))
        what = f"fold {fold} has no cases" if not validation else f"outside fold {fold} there are no cases to train on"
        raise UserError(what, where=manifest.name, next=f"Folds here: {folds}; 'none' trains on all cases.")
    shared = {case.patient_id for case in training} & {case.patient_id for case in validation}
    if shared:
        raise UserError(
            f"{len(shared)} patients are in training and in validation",
            where=f"{manifest.name}, fold {fold}",
            next="'unet check' names them; 'unet manifest' makes folds by patient.",
        )
    return training, validation


def override(experiment: Experiment, settings: Mapping[str, object]) -> Experiment:
    """The experiment with some settings changed, by dotted name. Raises: UserError as for a file."""
    data = asdict(experiment)
    for name, value in settings.items():
        *groups, last = name.split(".")
        place = data
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return experiment_from(data, where=Path("--set"))


def _open(
    source: Path, fold: int | None, budget_s: float | None, data_root: Path | str | None
) -> tuple[Experiment, Manifest, dict[str, str]]:
    existing(source)
    if source.suffix.lower() in (".yaml", ".yml"):
        experiment = read_experiment(source)
        if not experiment.manifest:
            raise UserError("the experiment names no data set", where=source, next="Add a line 'manifest: PATH' to it.")
        return experiment, read_manifest(source.parent / experiment.manifest, data_root=data_root), {}
    import torch

    from .plan import plan

    manifest = read_manifest(source, data_root=data_root)
    training, _ = split(manifest, fold)
    planned = plan(manifest, training, budget_s=budget_s, on_gpu=torch.cuda.is_available())
    return planned.experiment, manifest, planned.reasons


def _prepare(
    folder: RunFolder,
    experiment: Experiment,
    manifest: Manifest,
    reasons: Mapping[str, str],
    *,
    fold: int | None,
    budget_s: float | None,
) -> None:
    for place in (folder.path, folder.last.parent, folder.pictures, folder.scores):
        place.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, folder.manifest_file)
    text = experiment_yaml(replace(experiment, manifest=folder.manifest_file.name), reasons)
    write_text(folder.experiment_file, text)
    folder.log_file.unlink(missing_ok=True)
    folder.note({"fold": fold, "budget_s": budget_s, "finished": False})  # last: its presence makes the folder a run


def _run(folder: RunFolder, training: list[Case], validation: list[Case]) -> RunFolder:
    from .session import Session

    session = Session(folder, training, validation)
    session.run()
    if folder.facts().get("finished"):
        shutil.rmtree(folder.cache, ignore_errors=True)
    else:
        say(f"unet: stopped in good order; go on with: unet train --resume -o {folder.path}")
    return folder
