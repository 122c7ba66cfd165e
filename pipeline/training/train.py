"""Train one fold: prepares the run folder, then lets `session.py` run. The door for Python and for `unet train`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ..data.augmentation_fit import check_augmentation
from ..data.manifest import Case, Manifest, read_manifest, write_manifest
from ..errors import UserError
from ..io.paths import existing, write_text
from ..progress import say
from .experiment import Experiment, experiment_from, experiment_yaml, read_experiment
from .guards import alone_in, refuse_changed, refuse_occupied, writing_into
from .run_folder import RunFolder, open_run_folder

YAML = (".yaml", ".yml")


def train(
    source: Path | str,
    run_folder: Path | str,
    *,
    fold: int | None = 0,
    epochs: int | None = None,
    budget_s: float | None = None,
    used_s: float = 0.0,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> RunFolder:
    """Train from the beginning.

    Args:
        source: a manifest (JSON; the experiment is planned from the data) or an experiment (YAML, which names its manifest).
        run_folder: where everything goes; empty or absent. Gone again where data or budget do not allow a start.
        fold: the fold that is validated; None: train on all cases without validation.
        epochs: overrides the experiment's.
        budget_s: wall-clock seconds for everything from this call on; the schedule ends with it.
        used_s: seconds of the budget that are gone already: a command counts from its own start.
        settings: overrides, {"network.width": 32}.
        data_root: where the data lie now, if not where the manifest says.
    Raises: UserError for anything wrong with data or settings.
    """
    began_s = time.monotonic() - used_s
    folder = RunFolder(path=Path(run_folder))
    refuse_occupied(folder)
    changes = {**(settings or {}), **({} if epochs is None else {"epochs": epochs})}
    experiment, manifest, reasons = open_experiment(Path(source), fold, budget_s, data_root, changes)
    training, validation = split(manifest, fold)
    with writing_into(folder), alone_in(folder):
        refuse_occupied(folder)  # again, now that nobody else can begin here
        try:
            _prepare(folder, experiment, manifest, reasons, fold=fold, budget_s=budget_s)
            return _run(folder, training, validation, began_s=began_s, budget_s=budget_s)
        except (UserError, OSError):
            if not folder.last.is_file():  # nothing was learned that a resume could go on from
                shutil.rmtree(folder.path, ignore_errors=True)
            raise


def write_plan(
    manifest: Path | str,
    file: Path | str,
    *,
    fold: int | None = 0,
    budget_s: float | None = None,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> Path:
    """Write the experiment that `train` would plan, with its reasons, to be read and edited before it is trained.

    Args:
        manifest: the data set.
        file: a YAML file that does not exist yet.
        fold, budget_s, settings, data_root: as in `train`.
    Raises: UserError where the file exists, or as `train` does.
    """
    manifest, file = Path(manifest), Path(file)
    if file.exists():
        raise UserError("is there already", where=file, next="Choose another name, or delete it first.")
    if manifest.suffix.lower() in YAML or file.suffix.lower() not in YAML:
        what = f"a plan goes from a manifest (.json) to an experiment (.yaml), not from {manifest.name} to {file.name}"
        raise UserError(what, where="--plan")
    experiment, _, reasons = open_experiment(manifest, fold, budget_s, data_root, settings or {})
    place = os.path.relpath(manifest.resolve(), file.resolve().parent)
    with writing_into(RunFolder(path=file)):
        write_text(file, experiment_yaml(replace(experiment, manifest=Path(place).as_posix()), reasons))
    return file


def resume(
    run_folder: Path | str, *, budget_s: float | None = None, used_s: float = 0.0, data_root: Path | str | None = None
) -> RunFolder:
    """Go on with a run that was stopped, from its last checkpoint, to the same end.

    Args:
        budget_s: a new budget for the whole run, seconds used so far included; absent: the one it began with.
        used_s: as in `train`.
    Raises: UserError where the run is finished, or its experiment or manifest have changed since it began.
    """
    began_s = time.monotonic() - used_s
    folder = open_run_folder(run_folder)
    facts = folder.facts()
    if facts.get("finished") and budget_s is None:
        raise UserError("this run is finished", where=folder.path, next="A longer --time-budget goes on with it.")
    if data_root is not None:
        write_manifest(read_manifest(folder.manifest_file, data_root=data_root), folder.manifest_file)
    manifest = folder.manifest()
    refuse_changed(folder.experiment_file, folder.experiment().digest, facts.get("experiment_digest"))
    refuse_changed(folder.manifest_file, manifest.digest, facts.get("manifest_digest"))
    if budget_s is None and facts.get("budget_s") is not None:
        budget_s = float(str(facts["budget_s"]))
    training, validation = split(manifest, folder.fold)
    with writing_into(folder), alone_in(folder):
        return _run(folder, training, validation, began_s=began_s, budget_s=budget_s)


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
            if not isinstance(place.setdefault(group, {}), dict):
                raise UserError(f"{name}: {group} is one value and holds no settings", where="--set")
            place = place[group]
        place[last] = value
    return experiment_from(data, where=Path("--set"))


def open_experiment(
    source: Path, fold: int | None, budget_s: float | None, data_root: Path | str | None, changes: Mapping[str, object]
) -> tuple[Experiment, Manifest, dict[str, str]]:
    """Experiment, data set, and why the settings are as they are (of a plan; whoever wrote an experiment has own reasons)."""
    experiment, manifest, reasons = _read_or_plan(existing(source), fold, budget_s, data_root)
    if changes:
        experiment = override(experiment, changes)
        reasons = {key: why for key, why in reasons.items() if key not in changes}
    experiment.check_fits(manifest.table)
    if experiment.patience and fold is None:
        what = f"patience: {experiment.patience} waits for a better epoch, and without validation none is better than another"
        raise UserError(what, where="--fold none", next="Set patience: 0 and the epochs that the folds needed.")
    check_augmentation(experiment.augmentation, experiment.preprocessing.plane, manifest)
    return experiment, manifest, reasons


def _read_or_plan(
    source: Path, fold: int | None, budget_s: float | None, data_root: Path | str | None
) -> tuple[Experiment, Manifest, dict[str, str]]:
    if source.suffix.lower() in YAML:
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
    digests = {"experiment_digest": experiment.digest, "manifest_digest": manifest.digest}
    # last: its presence makes the folder a run
    folder.note({"fold": fold, "budget_s": budget_s, "finished": False, **digests})


def _run(
    folder: RunFolder, training: list[Case], validation: list[Case], *, began_s: float, budget_s: float | None
) -> RunFolder:
    from .session import Session

    go_on = f"go on with: unet train --resume -o {folder.path}"
    try:
        Session(folder, training, validation, began_s=began_s, budget_s=budget_s).run()
    except KeyboardInterrupt:  # while preprocessing, or a second time
        say(f"unet: {go_on}")
        raise
    if folder.facts().get("finished"):
        shutil.rmtree(folder.cache, ignore_errors=True)
    else:
        say(f"unet: stopped in good order; {go_on}")
    return folder
