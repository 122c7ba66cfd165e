"""The experiment that a training begins with: read from a file or planned from a manifest, with single settings changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from ..data.augmentation_fit import check_augmentation
from ..data.manifest import Manifest, read_manifest
from ..errors import UserError
from ..io.paths import existing, write_text
from .experiment import Experiment, experiment_from, experiment_yaml, read_experiment
from .guards import writing_into
from .run_folder import RunFolder
from .split import split

YAML = (".yaml", ".yml")


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
