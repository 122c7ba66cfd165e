"""Find everything in a data set that would spoil a training, in one go. Judges a manifest; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

from ..errors import some
from ..progress import bar
from .check_case import CaseReport, check_case
from .manifest import Manifest

WORKERS = 2
WORTH_WORKERS_BYTES = 200 * 2**20  # below, starting the processes takes longer than they save


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    severity: Literal["error", "warning"]  # an error would spoil a training
    code: str  # short and stable, e.g. "grid-mismatch"
    where: str  # case, patient, fold or structure
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureCensus:
    """How often one structure occurs."""

    value: int
    name: str
    voxels: int
    cases: int
    ml: float | None  # None where a spacing is unknown
    cases_in_fold: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What `unet check` says about a manifest."""

    name: str
    digest: str
    cases: int
    patients: int
    problems: tuple[Problem, ...]  # errors first
    census: tuple[StructureCensus, ...]

    @property
    def ok(self) -> bool:
        """Whether a training may start: warnings only, or nothing."""
        return not any(problem.severity == "error" for problem in self.problems)

    def to_json(self) -> dict[str, object]:
        """Plain types only."""
        return {
            "name": self.name,
            "digest": self.digest,
            "ok": self.ok,
            "cases": self.cases,
            "patients": self.patients,
            "problems": [
                {"severity": p.severity, "code": p.code, "where": p.where, "sentence": p.sentence} for p in self.problems
            ],
            "census": [
                {
                    **{"value": c.value, "name": c.name, "voxels": c.voxels, "cases": c.cases, "ml": c.ml},
                    "cases_in_fold": {str(fold): n for fold, n in c.cases_in_fold.items()},
                }
                for c in self.census
            ],
        }


def check_manifest(manifest: Manifest) -> CheckReport:
    """Look at every file, voxel and fold of a manifest.

    Returns: all problems, errors first, and the census of its structures; never raises because of the data.
    """
    reports = list(bar(_reports(manifest), title="checking cases", total=len(manifest.cases), unit="cases"))
    found = [Problem(severity=s, code=c, where=r.case, sentence=text) for r in reports for s, c, text in r.problems]
    found += [*_split_patients(manifest), *_twins(manifest, reports), *_missing_structures(manifest, reports)]
    return CheckReport(
        name=manifest.name,
        digest=manifest.digest,
        cases=len(manifest.cases),
        patients=len({case.patient_id for case in manifest.cases}),
        problems=tuple(sorted(found, key=lambda p: (p.severity != "error", p.code))),
        census=_census(manifest, reports),
    )


def _reports(manifest: Manifest) -> Iterator[CaseReport]:
    """One report a case, in the manifest's order; in two processes where there is much to read."""
    if len(manifest.cases) < 2 or _bytes(manifest) < WORTH_WORKERS_BYTES:
        yield from (check_case(manifest, case) for case in manifest.cases)
        return
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:  # fork would copy threads of torch
        yield from pool.map(check_case, [manifest] * len(manifest.cases), manifest.cases)


def _bytes(manifest: Manifest) -> int:
    total = 0
    for case in manifest.cases:
        for path in (manifest.data_root / name for name in (*case.image, *case.label)):
            if path.is_dir():
                total += sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
            elif path.is_file():
                total += path.stat().st_size
    return total


def _split_patients(manifest: Manifest) -> Iterator[Problem]:
    folds: dict[str, set[int]] = {}
    for case in manifest.cases:
        folds.setdefault(case.patient_id, set()).add(case.fold)
    for patient, several in folds.items():
        if len(several) > 1:
            sentence = f"this patient stands in the folds {_listed(sorted(several))}: the validation would know the answers"
            yield Problem(severity="error", code="patient-in-two-folds", where=patient, sentence=sentence)


def _twins(manifest: Manifest, reports: Sequence[CaseReport]) -> Iterator[Problem]:
    """The same pixels under two names: an error across folds or with different masks, else a warning."""
    by_pixels: dict[str, list[int]] = {}
    for position, report in enumerate(reports):
        if report.pixels_sha256:
            by_pixels.setdefault(report.pixels_sha256, []).append(position)
    for positions in by_pixels.values():
        if len(positions) < 2:
            continue
        names = _listed([reports[p].case for p in positions])
        folds = {manifest.cases[p].fold for p in positions}
        masks = {reports[p].mask_sha256 for p in positions}
        why = "in different folds" if len(folds) > 1 else "with different masks" if len(masks) > 1 else ""
        sentence = f"identical pixels as in {names}" + (f", {why}" if why else "")
        yield Problem(
            severity="error" if why else "warning", code="identical-pixels", where=reports[positions[0]].case, sentence=sentence
        )


def _missing_structures(manifest: Manifest, reports: Sequence[CaseReport]) -> Iterator[Problem]:
    for structure in manifest.table.structures:
        folds_with = {
            case.fold for case, report in zip(manifest.cases, reports, strict=True) if report.voxels.get(structure.value)
        }
        absent = [fold for fold in manifest.folds if fold not in folds_with]
        if not folds_with:
            sentence = f"value {structure.value} occurs in no mask: nothing can be learnt"
            yield Problem(severity="error", code="structure-never-occurs", where=structure.name, sentence=sentence)
        elif absent:
            word = "folds" if len(absent) > 1 else "fold"
            sentence = f"occurs in no mask of {word} {_listed(absent)}: it cannot be validated there"
            yield Problem(severity="warning", code="structure-absent-from-fold", where=structure.name, sentence=sentence)


def _census(manifest: Manifest, reports: Sequence[CaseReport]) -> tuple[StructureCensus, ...]:
    pairs = list(zip(manifest.cases, reports, strict=True))
    known = all(case.spacing_known for case in manifest.cases)
    rows = []
    for structure in manifest.table.structures:
        having = [(case, report) for case, report in pairs if report.voxels.get(structure.value)]
        in_fold = {fold: sum(case.fold == fold for case, _ in having) for fold in manifest.folds}
        rows.append(
            StructureCensus(
                value=structure.value,
                name=structure.name,
                voxels=sum(report.voxels[structure.value] for _, report in having),
                cases=len(having),
                ml=sum(report.voxels[structure.value] * report.voxel_ml for _, report in having) if known else None,
                cases_in_fold=in_fold,
            )
        )
    return tuple(rows)


def _listed(items: Iterable[object]) -> str:
    return some([str(item) for item in items], 5)
