"""Where a cross-validation keeps its files: one run folder a fold, and on top what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..io.paths import existing
from .guards import refuse_changed
from .run_folder import RunFolder

FILE_NAME = "cross_validation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFolder(RunFolder):
    """Like a run folder, with `cross_validation.json` as its `run_file` and no checkpoints of its own."""

    @property
    def run_file(self) -> Path:
        return self.path / FILE_NAME

    @property
    def masks(self) -> Path:
        """One mask a case, of the model that did not see it."""
        return self.path / "out_of_fold"

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(int(str(fold)) for fold in self.facts()["folds"])  # type: ignore[attr-defined]

    def run(self, fold: int) -> RunFolder:
        """The run folder of one fold, which need not exist yet."""
        return RunFolder(path=self.path / f"fold_{fold}")

    def finished(self, fold: int) -> bool:
        run = self.run(fold)
        return run.run_file.is_file() and bool(run.facts().get("finished"))

    @property
    def unfinished(self) -> tuple[int, ...]:
        return tuple(fold for fold in self.folds if not self.finished(fold))

    @property
    def runs(self) -> dict[int, RunFolder]:
        """Fold → its run folder. Raises: UserError where one is not trained to its end, or belongs to another training."""
        left = self.unfinished
        if left:
            what = f"fold {', '.join(map(str, left))} of {len(self.folds)} folds is not trained to its end"
            raise UserError(what, where=self.path, next=f"unet train --resume -o {self.path} goes on with it.")
        self.check()
        return {fold: self.run(fold) for fold in self.folds}

    def used_s(self, fold: int) -> float:
        """Seconds that a fold has taken so far."""
        told = self.facts()["used_s"].get(str(fold))  # type: ignore[attr-defined]
        run = self.run(fold)
        if told is None:  # not yet at its end: the run itself counts
            told = run.facts().get("used_s", 0.0) if run.run_file.is_file() else 0.0
        return float(str(told))

    def note_used(self, fold: int, used_s: float) -> None:
        known: dict[str, object] = self.facts()["used_s"]  # type: ignore[assignment]
        self.note({"used_s": {**known, str(fold): round(used_s, 1)}})

    def check(self) -> None:
        """Raises: UserError where experiment or manifest have changed since it began, or a fold is another training's."""
        facts = self.facts()
        refuse_changed(self.experiment_file, self.experiment().digest, facts.get("experiment_digest"))
        refuse_changed(self.manifest_file, self.manifest().digest, facts.get("manifest_digest"))
        for fold in self.folds:
            run = self.run(fold)
            if not run.run_file.is_file():
                continue
            theirs = run.facts()
            for name, recorded in (("experiment_digest", "experiment"), ("manifest_digest", "manifest"), ("fold", "fold")):
                if theirs.get(name) != (fold if name == "fold" else facts.get(name)):
                    what = f"belongs to another training than the folder above it: its {recorded} differs"
                    raise UserError(what, where=run.path, next="Put the fold's own folder back.")


def is_cross_validation(path: Path | str) -> bool:
    """Whether a folder is one of `unet train --folds all`."""
    return (Path(path) / FILE_NAME).is_file()


def open_cross_folder(path: Path | str) -> CrossFolder:
    """An existing cross-validation. Raises: UserError where the folder is none, or files of it are missing."""
    folder = CrossFolder(path=existing(path))
    missing = [f.name for f in (folder.run_file, folder.experiment_file, folder.manifest_file) if not f.is_file()]
    if missing:
        what = f"is not a cross-validation: {', '.join(missing)} missing"
        raise UserError(what, where=path, next="'unet train --folds all' makes one with -o.")
    return folder
