"""Make a manifest of a source: table of labels, patients, folds, hashes. Judges no voxel (that is `check.py`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Notice, UserError, sentences
from ..io.nifti import looks_like_nifti, read_nifti
from ..io.picture import looks_like_picture, read_picture
from ..io.read import read_label_volume, read_volume
from ..labels import LabelTable, label_table
from ..progress import bar
from .census import value_counts, values_text
from .folds import assign_folds
from .found import FoundCase, FoundSet
from .hashing import sha256_of
from .manifest import Case, Manifest
from .patients import fold_of_case, patient_of_case
from .sources import find_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user says about a data set that the files do not."""

    name: str
    labels: Mapping[str, int] = field(default_factory=dict)  # name → value; "background" sets the background's
    overlapping: bool = False
    structures: Mapping[str, int] = field(default_factory=dict)  # RTSTRUCT and SEG: name pattern → value
    patient_pattern: str = ""  # regular expression with one group, searched in the case's name
    patients: Path | None = None  # CSV of case,patient_id
    folds: int = 5
    fold_of: Path | None = None  # CSV of case,fold
    seed: int = 0
    pixel_size_mm: float | None = None  # pictures
    pixel_size_unknown: bool = False  # pictures: said to be unknown
    modality: str = ""  # where the files do not say; of DICOM series, which to take
    masks: str = ""  # of DICOM series, which kind of mask to take: "seg", "rtstruct" or "nifti"

    def __post_init__(self) -> None:
        if self.patient_pattern and self.patients:
            raise UserError("--patient and --patients both say whose a case is", next="Give one of them.")
        if self.patient_pattern:
            try:
                groups = re.compile(self.patient_pattern).groups
            except re.error as error:
                raise UserError(f"'{self.patient_pattern}' is no regular expression ({error})", where="--patient") from error
            if groups != 1:
                next_step = r"Put the part that names the patient into brackets, for example '(STS_\d+)'."
                raise UserError(f"'{self.patient_pattern}' has {groups} groups, not one", where="--patient", next=next_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A manifest with what is worth saying about its making."""

    manifest: Manifest
    kind: str  # the layout that was recognised
    voxels: Mapping[float, int]  # value → voxels over all masks
    cases_with: Mapping[float, int]  # value → cases in which it occurs
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """One case, looked at."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    spacing_known: bool
    modality: str
    counts: Mapping[float, int]
    image_sha256: tuple[str, ...]
    label_sha256: tuple[str, ...]


def build_manifest(source: Path | str, request: Request) -> Built:
    """Recognise a source, look at every case once, and describe it.

    Raises: UserError for a layout that is none, unreadable files (all of them), labels or patients that nobody names.
    """
    found = find_cases(source, modality=request.modality, masks=request.masks, labels_stated=bool(request.labels))
    _refuse_doubles(found)
    _refuse_unstated_pixel_size(found, request)
    table = _table(found, request)
    patients, patient_notices = patient_of_case(found, pattern=request.patient_pattern, table=request.patients)
    surveys, voxels = _survey_all(found, request, table)
    if table is None:
        raise UserError("nothing says what the mask values mean", where=source, next=_proposal(voxels))
    strange = {value: n for value, n in voxels.items() if value not in {table.background, *table.values}}
    if strange and len(strange) == len(set(voxels) - {table.background}):
        raise UserError(
            f"no mask holds a value of the label table, but {values_text(strange)}", where=source, next=_proposal(voxels)
        )
    labels_of: dict[str, set[int]] = {patient: set() for patient in patients.values()}
    for case, survey in zip(found.cases, surveys, strict=True):
        labels_of[patients[case.case]] |= {value for value in table.values if value in survey.counts}
    folds, fold_notices = fold_of_case(found, patients, table=request.fold_of)
    if not folds:
        of_patient = assign_folds(labels_of, folds=request.folds, seed=request.seed)
        folds = {case: of_patient[patient] for case, patient in patients.items()}
    cases = tuple(
        _case(case, survey, found.root, patients[case.case], folds[case.case], request)
        for case, survey in zip(found.cases, surveys, strict=True)
    )
    root = Path(found.root).resolve()
    manifest = Manifest(name=request.name, data_root=root, table=table, cases=cases, structures=dict(request.structures))
    own = _notices(manifest, strange)
    return Built(
        manifest=manifest,
        kind=found.kind,
        voxels=voxels,
        cases_with={value: sum(value in survey.counts for survey in surveys) for value in voxels},
        notices=(*found.notices, *patient_notices, *fold_notices, *own),
    )


def _refuse_doubles(found: FoundSet) -> None:
    names = [case.case for case in found.cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        what = f"several cases have one name: {', '.join(twice[:5])}"
        raise UserError(what, where=found.root, next="Give each case its own name (column case of a CSV).")


def _refuse_unstated_pixel_size(found: FoundSet, request: Request) -> None:
    stated = request.pixel_size_mm is not None or request.pixel_size_unknown
    picture = next((p for case in found.cases for p in case.image if p.is_file() and looks_like_picture(p)), None)
    if picture is not None and not stated:
        what = f"{picture.name} is a picture, which does not say how large a pixel is"
        next_step = "Add --pixel-size MM, or --pixel-size unknown: then no millimetres are claimed."
        raise UserError(what, where=found.root, next=next_step)
    if picture is None and stated:
        raise UserError("these images carry their own voxel size", where="--pixel-size", next="Leave the option away.")


def _table(found: FoundSet, request: Request) -> LabelTable | None:
    """The label table that the user or the source gives; None: nobody says, and only the values in the masks can tell."""
    labels = dict(request.labels or found.labels)
    if not labels and request.structures:
        labels = {pattern.strip("*?_- ") or pattern: value for pattern, value in request.structures.items()}
    if not labels and found.object_names:
        names = ", ".join(f"{name} ({n} cases)" for name, n in list(found.object_names.items())[:20])
        example = next(iter(found.object_names))
        next_step = f"Choose with --structure NAME=VALUE, for example --structure '{example}=1'; NAME may hold * and ?."
        raise UserError(f"the structures are {names}", where=found.root, next=next_step)
    if not labels:
        return None
    table = label_table(labels, overlapping=request.overlapping)
    for pattern, value in request.structures.items():
        if value not in table.values:
            raise UserError(f"{pattern} has the value {value}, which --labels does not name", where="--structure")
    return table


def _survey_all(found: FoundSet, request: Request, table: LabelTable | None) -> tuple[list[_Survey], dict[float, int]]:
    """Every case looked at once; problems of all cases in one error."""
    surveys, problems, voxels, next_step = [], [], dict[float, int](), ""
    for case in bar(found.cases, title="reading cases", unit="cases"):
        try:
            survey = _survey(case, request, table)
        except UserError as error:
            problems.append(f"{case.case}: {error.what}")
            next_step = error.next
            continue
        surveys.append(survey)
        for value, n in survey.counts.items():
            voxels[value] = voxels.get(value, 0) + n
    if problems:
        what = f"{len(problems)} of {len(found.cases)} cases cannot be read: {sentences(problems, 5)}"
        raise UserError(what, where=found.root, next=next_step if len(problems) == 1 else "Repair or remove these files.")
    return surveys, dict(sorted(voxels.items()))


def _survey(case: FoundCase, request: Request, table: LabelTable | None) -> _Survey:
    image = read_volume(case.image[0], series=case.series, volume=case.volume, pixel_size_mm=request.pixel_size_mm)
    counts: dict[float, int] = {}
    for position, path in enumerate(case.label):
        if path.is_file() and looks_like_nifti(path):
            mask = read_nifti(path).array
        elif path.is_file() and looks_like_picture(path):
            mask = read_picture(path, as_labels=True).array
        elif table is None:
            raise UserError(f"{path.name} needs --structure NAME=VALUE or --labels NAME=VALUE")
        else:
            mask = read_label_volume(path, like=image, table=table, structures=request.structures or None).array
        if table is not None and table.overlapping and (len(case.label) > 1 or mask.ndim == 4):
            channels = [mask != 0] if mask.ndim == 3 else [mask[..., k] != 0 for k in range(mask.shape[3])]
            values = table.values[position : position + 1] if mask.ndim == 3 else table.values
            counts |= {float(v): int(c.sum()) for v, c in zip(values, channels, strict=False) if c.any()}
        else:
            counts |= value_counts(mask)
    return _Survey(
        shape=image.shape,
        spacing_mm=image.spacing_mm,
        spacing_known=image.source.spacing_known,
        modality=image.modality,
        counts=counts,
        image_sha256=tuple(sha256_of(path) for path in case.image),
        label_sha256=tuple(sha256_of(path) for path in case.label),
    )


def _case(case: FoundCase, survey: _Survey, root: Path, patient: str, fold: int, request: Request) -> Case:
    picture = looks_like_picture(case.image[0]) if case.image[0].is_file() else False
    return Case(
        case=case.case,
        image=tuple(_relative(path, root) for path in case.image),
        label=tuple(_relative(path, root) for path in case.label),
        patient_id=patient,
        fold=fold,
        image_sha256=survey.image_sha256,
        label_sha256=survey.label_sha256,
        shape=survey.shape,
        spacing_mm=tuple(round(mm, 6) for mm in survey.spacing_mm),  # type: ignore[arg-type]  # three stay three
        spacing_known=survey.spacing_known,
        modality=survey.modality or case.modality or request.modality or ("picture" if picture else ""),
        pixel_size_mm=request.pixel_size_mm if picture else None,
        series=case.series,
        volume=case.volume,
    )


def _relative(path: Path, root: Path) -> str:
    """By the names on the way, not by where links lead: a data folder may hold links to files elsewhere."""
    return Path(os.path.relpath(path, root)).as_posix()


def _proposal(voxels: Mapping[float, int]) -> str:
    """The --labels option that would fit, ready to be typed."""
    whole = [int(value) for value in voxels if value == int(value) and 0 <= value <= 255]
    background = 0 if 0 in whole else (whole[0] if whole else 0)
    named = ",".join(f"NAME{i}={value}" for i, value in enumerate((v for v in whole if v != background), start=1))
    extra = f"background={background}," if background else ""
    hint = "" if background else " (and background=VALUE where the background is not 0)"
    return f"The masks hold {values_text(dict(voxels))}. Name them: --labels {extra}{named or 'NAME=1'}{hint}"


def _notices(manifest: Manifest, strange: Mapping[float, int]) -> tuple[Notice, ...]:
    found = []
    if strange:
        sentence = (
            f"masks hold values that the label table does not name: {values_text(dict(strange))}; 'unet check' says where"
        )
        found.append(Notice(code="values-undeclared", sentence=sentence))
    if not all(case.modality for case in manifest.cases):
        sentence = "the modality is not known: --modality CT or MR decides how intensities are normalised"
        found.append(Notice(code="modality-unknown", sentence=sentence))
    elif len({case.modality for case in manifest.cases}) > 1:
        sentence = f"several modalities in one set: {', '.join(sorted({case.modality for case in manifest.cases}))}"
        found.append(Notice(code="modalities-mixed", sentence=sentence))
    return tuple(found)
