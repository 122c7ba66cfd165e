"""Plan a training and forecast it, before anything starts. The door for `unet plan`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..io.paths import write_text
from .experiment import Experiment, experiment_yaml
from .forecast import Forecast, forecast
from .guards import writing_into
from .open_experiment import YAML, open_experiment
from .plan import Plan
from .plan_memory import fit
from .run_folder import RunFolder
from .split import split


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTraining:
    """An experiment that has not begun, why it is so, and what it will take."""

    experiment: Experiment
    reasons: Mapping[str, str]
    forecast: Forecast


def plan_training(
    source: Path | str,
    file: Path | str | None = None,
    *,
    fold: int | None = 0,
    budget_s: float | None = None,
    max_ram_bytes: int | None = None,
    settings: Mapping[str, object] | None = None,
    data_root: Path | str | None = None,
) -> PlannedTraining:
    """Plan what `train` would train, forecast it, and write it down to be read and edited.

    Args:
        source: a manifest (.json); or an experiment (.yaml), which is only forecast.
        file: a YAML file that does not exist yet; None: nothing is written.
        max_ram_bytes: batch size, patch and width are made smaller until the forecast fits.
        fold, budget_s, settings, data_root: as in `train`.
    Raises: UserError where the file exists, where nothing fits into the memory, or as `train` does.
    """
    source, said = Path(source), settings or {}
    file = None if file is None else Path(file)
    _check_file(source, file, max_ram_bytes)
    experiment, manifest, reasons = open_experiment(source, fold, budget_s, data_root, said)
    training, validation = split(manifest, fold)

    def probe(one: Experiment) -> Forecast:
        return forecast(one, manifest, training, validation)

    planned = Plan(experiment=experiment, reasons=reasons)
    if max_ram_bytes is None:
        made = probe(experiment)
    else:
        planned, made = fit(planned, max_ram_bytes, said, probe)
    if file is not None:
        _write(planned, source, file)
    return PlannedTraining(experiment=planned.experiment, reasons=planned.reasons, forecast=made)


def _check_file(source: Path, file: Path | None, max_ram_bytes: int | None) -> None:
    """Before any work. Raises: UserError."""
    is_experiment = source.suffix.lower() in YAML
    if is_experiment and (file is not None or max_ram_bytes is not None):
        what = "is planned already: it can be forecast, not planned anew"
        raise UserError(what, where=source, next="Leave -o and --max-ram out, or plan from the manifest (.json).")
    if file is None:
        return
    if file.exists():
        raise UserError("is there already", where=file, next="Choose another name, or delete it first.")
    if file.suffix.lower() not in YAML:
        raise UserError(f"a plan is an experiment file (.yaml), not {file.name}", where="-o")


def _write(plan: Plan, source: Path, file: Path) -> None:
    place = Path(os.path.relpath(source.resolve(), file.resolve().parent)).as_posix()
    with writing_into(RunFolder(path=file)):
        write_text(file, experiment_yaml(replace(plan.experiment, manifest=place), plan.reasons, short=True))
