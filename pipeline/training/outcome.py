"""What a training came to, read once from its run folder: what the page and its hints go by. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from ..data.case_store import StoredCase
from ..data.manifest import Manifest
from ..evaluation.counts import Counts, no_counts
from ..evaluation.scores import Mean, mean
from ..network.sizes import Design
from .cross_folder import is_cross_validation
from .experiment import Experiment
from .run_folder import RunFolder
from .validation import CaseScores

Points = list[tuple[float, float]]  # (epoch, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run at its end. `results` are those of its best epoch; empty where no case was validated."""

    folder: RunFolder
    experiment: Experiment
    manifest: Manifest
    facts: dict[str, object]
    history: list[dict[str, object]]
    results: Sequence[CaseScores]
    sides: Sequence[
        tuple[int, int]
    ]  # rows and columns that the network is given of each validated case; with zero padding only

    @property
    def names(self) -> tuple[str, ...]:
        return self.manifest.table.names

    @property
    def counts(self) -> Counts:
        """Pixels of all validated cases together."""
        return reduce(add, (result.counts for result in self.results), no_counts(self.manifest.table))

    @property
    def patients(self) -> dict[str, str]:
        """Case → patient."""
        return {case.case: case.patient_id for case in self.manifest.cases}

    @property
    def one_of_many(self) -> bool:
        """Whether this is a fold of a cross-validation."""
        return is_cross_validation(self.folder.path.parent)

    @property
    def narrow(self) -> int:
        """Validated cases whose slices training fills up to the patch, mirrored, where prediction ends and sees zeros."""
        return sum(rows < self.experiment.patch[0] or columns < self.experiment.patch[1] for rows, columns in self.sides)

    @property
    def fitting_patch(self) -> tuple[int, int]:
        """The largest patch up to this one that is not larger than any validated slice."""
        rows, columns = (
            min(patch, *sides) for patch, sides in zip(self.experiment.patch, zip(*self.sides, strict=True), strict=True)
        )
        return rows, columns

    def dice(self, structure: str) -> Mean:
        """Mean over the validated cases."""
        return mean(self.dices(structure))

    def dices(self, structure: str) -> list[float | None]:
        """One a validated case; None: neither there nor found."""
        position = self.names.index(structure)
        return [result.scores[position].dice for result in self.results]

    def points(self, key: str) -> Points:
        """What the log holds under this name, epoch by epoch."""
        return [(float(str(line["epoch"])), float(str(line[key]))) for line in self.history if line.get(key) is not None]

    def number(self, fact: str) -> float:
        """A number of `run.json`; 0 where it does not stand there."""
        return float(str(self.facts.get(fact) or 0))


def outcome_of(folder: RunFolder, results: Sequence[CaseScores] = (), cases: Sequence[StoredCase] = ()) -> Outcome:
    """Read a run folder.

    Args:
        cases: the validated cases as they are stored; for the size of their slices.
    """
    experiment = folder.experiment()
    return Outcome(
        folder=folder,
        experiment=experiment,
        manifest=folder.manifest(),
        facts=folder.facts(),
        history=folder.history(),
        results=results,
        sides=_sides(experiment, cases),
    )


def _sides(experiment: Experiment, cases: Sequence[StoredCase]) -> list[tuple[int, int]]:
    """Slices up to the next multiple of the pooling stride, as they are mirrored in prediction as well."""
    if experiment.network.padding != "same":
        return []
    stride = Design(depth=experiment.network.depth, padding="same").stride
    shapes = [case.image.shape[-2:] for case in cases]
    return [(-(-rows // stride) * stride, -(-columns // stride) * stride) for rows, columns in shapes]
