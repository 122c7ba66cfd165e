"""A handful of real training steps on one or two cases, to say how long and how large they are.

The same parts as in `session.py`, in the same order, so that what is measured is what a training will do. `forecast.py` runs it
as `python -m pipeline.training.probe FOLDER`: in a process of its own, since memory once taken stays with a process.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..cores import usable_cores
from ..data.case_store import StoredCase, store_cases
from ..data.manifest import Case, Manifest, read_manifest
from ..errors import UserError
from ..io.paths import write_text
from ..network.tiling import WholeSlice
from ..process import Peak, age_s, private_bytes_of_children
from ..progress import say
from .census import class_counts
from .checkpoint import save_checkpoint
from .experiment import Experiment, read_experiment
from .learner import Learner
from .memory import keep_freed_memory
from .probed import REQUEST, RESULT, Probed, probed_from
from .records import Records  # noqa: F401  # what a training imports takes time and memory
from .samples import training_loader
from .validation import Validator

WARM_UP_STEPS = 3  # slower: kernels are chosen, samples are not yet there
MOST_STEPS, FEWEST_STEPS = 40, 3  # timed at most, and however long they take
TIMED_S = 10.0  # of steps
VALIDATED_PIXELS = 1 << 20  # of a case that is validated: enough for a rate


class Probe:
    """A training that is not meant to learn.

    Args:
        folder: holds experiment.yaml, manifest.json and the request {"training": [names], "validation": [names]}.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.experiment: Experiment = read_experiment(folder / "experiment.yaml")
        self.manifest: Manifest = read_manifest(folder / "manifest.json")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(self.experiment.seed)
        torch.set_num_threads(self.experiment.threads or usable_cores())

    def run(self) -> Probed:
        """Preprocess, train a little, save, validate."""
        facts: dict[str, float] = {"imports_s": age_s(), "imported_bytes": Peak().bytes()}
        request = json.loads((self.folder / REQUEST).read_text(encoding="utf-8"))
        cases = {case.case: case for case in self.manifest.cases}
        training, validation = ([cases[name] for name in request[part]] for part in ("training", "validation"))
        facts |= self._preprocess([*training, *validation])
        learner = Learner(self.experiment, self.manifest.table, self._stored(training[0]).image.shape[1], self.device)
        facts |= self._train(learner, [self._stored(case) for case in training])
        facts |= self._save(learner)
        facts |= self._validate(learner, [self._stored(case) for case in validation])
        facts["gpu_bytes"] = torch.cuda.max_memory_reserved() if self.device.type == "cuda" else 0
        return probed_from(facts)

    def _stored(self, case: Case) -> StoredCase:
        return StoredCase(case=case.case, patient_id=case.patient_id, folder=self.folder / "cache" / case.case)

    def _preprocess(self, cases: list[Case]) -> dict[str, float]:
        """One after the other; the last one is timed, since the first finds packages to import."""
        peak, seconds = Peak(), 0.0
        for end in range(1, len(cases) + 1):
            started = time.monotonic()
            store_cases(self.manifest, cases[:end], self.experiment.preprocessing, self.folder / "cache")
            seconds = time.monotonic() - started
        voxels = int(np.prod(cases[-1].shape))
        return {"preprocessing_s": seconds, "preprocessing_voxels": voxels, "preprocessing_bytes": peak.bytes()}

    def _train(self, learner: Learner, cases: list[StoredCase]) -> dict[str, float]:
        keep_freed_memory()
        e, table, peak = self.experiment, self.manifest.table, Peak()
        facts: dict[str, float] = {"waiting_bytes": peak.bytes()}
        counts = [] if e.loss.class_weights == "none" else class_counts(cases, table, e.network.head)
        trainer = learner.trainer(e, counts)
        if learner.average:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, learner.average)
        timing = _Timing()
        trainer.add_event_handler(Events.ITERATION_COMPLETED, timing)
        trainer.run(training_loader(e, table, cases, 0), max_epochs=1, epoch_length=WARM_UP_STEPS + MOST_STEPS)
        step_s = float(np.median(timing.seconds))
        facts |= {"step_s": step_s, "steps": len(timing.seconds), "step_bytes": peak.bytes()}
        return facts | {"workers_bytes": timing.workers_bytes}

    def _save(self, learner: Learner) -> dict[str, float]:
        started = time.monotonic()
        save_checkpoint({"epoch": 0, "best": 0.0, **learner.state()}, self.folder / "last.pt")
        return {"saving_s": time.monotonic() - started}

    def _validate(self, learner: Learner, cases: list[StoredCase]) -> dict[str, float]:
        """Some slices of each case, twice: the first time kernels are chosen, and their memory is seen to grow."""
        peak, whole = Peak(), WholeSlice(learner.judged)
        validators = [self._validator(_some_slices(case)) for case in cases]
        grown = []
        for validator in validators:
            validator(whole)
            grown.append(peak.bytes())
        started = time.monotonic()
        for validator in validators:
            validator(whole)
        return {
            "validation_s": time.monotonic() - started,
            "validation_pixels": sum(v.cases[0].image[:, 0].size for v in validators),
            "validation_bytes": peak.bytes(),
            "validated_shapes": len(cases),
            "shape_bytes": (grown[-1] - grown[0]) / (len(grown) - 1) if len(grown) > 1 else 0,
        }

    def _validator(self, case: StoredCase) -> Validator:
        e = self.experiment
        return Validator([case], self.manifest.table, e.network.head, neighbours=e.preprocessing.neighbours, device=self.device)


class _Timing:
    """Seconds from one step to the next, once warm; ends the training when it has seen enough."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.workers_bytes = 0
        self.before_s = 0.0

    def __call__(self, engine: Engine) -> None:
        now_s = time.monotonic()
        if engine.state.iteration > WARM_UP_STEPS:
            self.seconds.append(now_s - self.before_s)
        done = len(self.seconds)
        if done >= MOST_STEPS or (done >= FEWEST_STEPS and sum(self.seconds) >= TIMED_S):
            self.workers_bytes = private_bytes_of_children()  # while they are at work
            engine.terminate()
        self.before_s = time.monotonic()


def _some_slices(case: StoredCase) -> StoredCase:
    """The first slices of a case, as a case."""
    shape = case.image.shape
    few = max(1, VALIDATED_PIXELS // (shape[-2] * shape[-1]))
    if shape[0] <= few:
        return case
    part = StoredCase(case=case.case, patient_id=case.patient_id, folder=case.folder.with_name(f"{case.case}.part"))
    part.folder.mkdir()
    np.save(part.folder / "image.npy", case.image[:few])
    np.save(part.folder / "label.npy", case.label[:few])
    return part


def main(folder: Path) -> int:
    """Returns: 0, with the result in the folder; 2 with one line on stderr for data that cannot be used."""
    try:
        probed = Probe(folder).run()
    except UserError as error:
        say(str(error))
        return 2
    write_text(folder / RESULT, json.dumps(asdict(probed)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
