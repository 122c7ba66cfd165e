"""Where a training keeps its files: enough to resume, evaluate and build a bundle without MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.manifest import Manifest, read_manifest
from ..errors import UserError
from ..io.paths import existing, write_text
from .experiment import Experiment, read_experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Paths of one run. `fold` None: trained on all cases."""

    path: Path

    @property
    def experiment_file(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous(self) -> Path:
        return self.path / "checkpoints" / "previous.pt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.pt"

    @property
    def chosen(self) -> Path:
        return self.path / "chosen.json"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def scores(self) -> Path:
        return self.path / "scores"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    def experiment(self) -> Experiment:
        return read_experiment(self.experiment_file)

    def manifest(self) -> Manifest:
        return read_manifest(self.manifest_file)

    def facts(self) -> dict[str, object]:
        """What `run.json` says: fold, image channels, MLflow run id, seconds used, best epoch."""
        try:
            facts: dict[str, object] = json.loads(self.run_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"is damaged ({error})", where=self.run_file) from error
        return facts

    @property
    def image_channels(self) -> int:
        """Channels of the data set's images. Raises: UserError where the training stopped before it knew them."""
        facts = self.facts()
        if "image_channels" not in facts:
            raise UserError("the training stopped before its first epoch", where=self.path, next="Train it again.")
        return int(str(facts["image_channels"]))

    @property
    def fold(self) -> int | None:
        fold = self.facts()["fold"]
        return None if fold is None else int(str(fold))

    def note(self, facts: Mapping[str, object]) -> None:
        """Change some of `run.json`, atomically."""
        known = self.facts() if self.run_file.is_file() else {}
        write_text(self.run_file, json.dumps(known | dict(facts), indent=1) + "\n")

    def log(self, line: Mapping[str, object]) -> None:
        """One line more in `log.jsonl`, below one that a crash may have cut short."""
        torn = self.log_file.is_file() and not (self.log_file.read_bytes() or b"\n").endswith(b"\n")
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(dict(line)) + "\n")

    def history(self) -> list[dict[str, object]]:
        """The lines of `log.jsonl`, one an epoch; of an epoch trained twice (after a crash), the later one."""
        if not self.log_file.is_file():
            return []
        lines = (_line(text) for text in self.log_file.read_text(encoding="utf-8").splitlines())
        return list({int(str(line["epoch"])): line for line in lines if line}.values())


def _line(text: str) -> dict[str, object]:
    """One line of the log; nothing for one that a crash cut short."""
    try:
        line: dict[str, object] = json.loads(text)
    except ValueError:
        return {}
    return line


def open_run_folder(path: Path | str) -> RunFolder:
    """An existing run. Raises: UserError where the folder is not one."""
    folder = RunFolder(path=existing(path))
    missing = [f.name for f in (folder.experiment_file, folder.manifest_file, folder.run_file) if not f.is_file()]
    if missing:
        raise UserError(
            f"is not a run folder: {', '.join(missing)} missing", where=path, next="'unet train' makes one with -o."
        )
    return folder
