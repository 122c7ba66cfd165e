"""Train one fold: prepares the run folder, then lets `session.py` run. The door for Python and for `unet train`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..data.manifest import Case, Manifest, read_manifest, write_manifest
from ..io.paths import write_text
from ..progress import say
from .experiment import Experiment, experiment_yaml
from .guards import alone_in, begun, gone_unless_learned, refuse_changed, refuse_occupied, writing_into
from .lead import led, tell_session, tell_session_ended
from .open_experiment import open_experiment
from .run_folder import RunFolder, open_run_folder
from .split import split


@led
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

    def write(made: RunFolder) -> None:
        prepare(made, experiment, manifest, reasons, fold=fold, budget_s=budget_s)

    with begun(folder, write), gone_unless_learned(folder, folder):
        return run_session(folder, training, validation, began_s=began_s, budget_s=budget_s)


@led
def resume(
    run_folder: Path | str, *, budget_s: float | None = None, used_s: float = 0.0, data_root: Path | str | None = None
) -> RunFolder:
    """Go on with a run that was stopped, from its last checkpoint, to the same end.

    Args:
        budget_s: a new budget for the whole run, seconds used so far included; absent: the one it began with.
        used_s: as in `train`.
    A finished run is left as it is, with a word: whoever starts the command again and again need not know.

    Raises: UserError where its experiment or manifest have changed since it began.
    """
    began_s = time.monotonic() - used_s
    folder = open_run_folder(run_folder)
    facts = folder.facts()
    if facts.get("finished") and budget_s is None:
        say(f"unet: {folder.path} is finished already; a longer --time-budget goes on with it")
        return folder
    if data_root is not None:
        write_manifest(read_manifest(folder.manifest_file, data_root=data_root), folder.manifest_file)
    manifest = folder.manifest()
    refuse_changed(folder.experiment_file, folder.experiment().digest, facts.get("experiment_digest"))
    refuse_changed(folder.manifest_file, manifest.digest, facts.get("manifest_digest"))
    if budget_s is None and facts.get("budget_s") is not None:
        budget_s = float(str(facts["budget_s"]))
    training, validation = split(manifest, folder.fold)
    with writing_into(folder), alone_in(folder):
        return run_session(folder, training, validation, began_s=began_s, budget_s=budget_s)


def prepare(
    folder: RunFolder,
    experiment: Experiment,
    manifest: Manifest,
    reasons: Mapping[str, str],
    *,
    fold: int | None,
    budget_s: float | None,
) -> None:
    """Make the run folder: what is trained, on what, and which fold."""
    for place in (folder.path, folder.last.parent, folder.pictures, folder.scores):
        place.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, folder.manifest_file)
    text = experiment_yaml(replace(experiment, manifest=folder.manifest_file.name), reasons)
    write_text(folder.experiment_file, text)
    digests = {"experiment_digest": experiment.digest, "manifest_digest": manifest.digest}
    # last: its presence makes the folder a run
    folder.note({"fold": fold, "budget_s": budget_s, "finished": False, **digests})


def run_session(
    folder: RunFolder,
    training: list[Case],
    validation: list[Case],
    *,
    began_s: float,
    budget_s: float | None,
    place: Path | None = None,
) -> RunFolder:
    """Train in a prepared folder, from its last checkpoint if there is one; to the end, or until a signal.

    Args:
        place: what `--resume` is to be told, where that is not the folder itself.
    """
    from .session import Session

    go_on = f"go on with: unet train --resume -o {place or folder.path}"
    tell_session(folder, budget_s)
    try:
        Session(folder, training, validation, began_s=began_s, budget_s=budget_s).run()
        tell_session_ended()
    except KeyboardInterrupt:  # while preprocessing, or a second time
        say(f"unet: {go_on}")
        raise
    if folder.facts().get("finished"):
        shutil.rmtree(folder.cache, ignore_errors=True)
    else:
        say(f"unet: stopped in good order; {go_on}")
    return folder
