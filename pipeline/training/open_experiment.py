"""The experiment that a training begins with: read from a file or planned from a manifest, with single settings changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..data.augmentation_fit import check_augmentation
from ..data.manifest import Manifest, read_manifest
from ..errors import UserError
from ..io.paths import existing
from .experiment import Experiment, experiment_from, read_experiment
from .reasons import reasons_of
from .split import split

YAML = (".yaml", ".yml")


def open_experiment(
    source: Path, fold: int | None, budget_s: float | None, data_root: Path | str | None, changes: Mapping[str, object]
) -> tuple[Experiment, Manifest, dict[str, str]]:
    """Experiment, data set, and why the settings are as they are: by the plan, or by the comments of the experiment file."""
    experiment, manifest, reasons = _read_or_plan(existing(source), fold, budget_s, data_root, changes)
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
    source: Path, fold: int | None, budget_s: float | None, data_root: Path | str | None, said: Mapping[str, object]
) -> tuple[Experiment, Manifest, dict[str, str]]:
    if source.suffix.lower() in YAML:
        experiment = read_experiment(source)
        if not experiment.manifest:
            raise UserError("the experiment names no data set", where=source, next="Add a line 'manifest: PATH' to it.")
        return experiment, read_manifest(source.parent / experiment.manifest, data_root=data_root), reasons_of(source)
    import torch

    from .plan import plan

    manifest = read_manifest(source, data_root=data_root)
    training, _ = split(manifest, fold)
    planned = plan(manifest, training, budget_s=budget_s, on_gpu=torch.cuda.is_available(), said=said)
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
