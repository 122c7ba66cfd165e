"""Pair the masks of two folders and put each pair on one grid in mm. Knows nothing of who made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.census import value_counts, values_text
from ..data.found import MASK_ENDINGS, stem
from ..data.source_csv import read_table
from ..errors import Notice, UserError, sentences, some
from ..io.nifti import looks_like_nifti, read_nifti
from ..io.paths import existing
from ..io.picture import looks_like_picture, read_picture
from ..io.read import read_label_volume
from ..io.volume import Volume
from ..labels import LabelTable, label_table
from ..progress import bar
from .surface import NSD_TOLERANCE_MM
from .table import CaseMasks, EvaluationTable

SHOWN = 5  # names in one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two mask files of one case."""

    case: str
    truth: Path
    predicted: Path
    patient_id: str


def find_pairs(
    predictions: Path, truth: Path, *, table: Path | None = None, patients: Path | None = None
) -> tuple[tuple[Pair, ...], tuple[Notice, ...]]:
    """Masks of equal name in two folders.

    Args:
        predictions: folder of NIfTI, PNG or TIFF masks, or of folders `NAME/mask.*` as `unet predict` writes them.
        truth: the same; endings such as _mask or _seg are ignored on both sides.
        table: CSV with the columns prediction and truth (paths relative to the two folders), where names do not say it.
        patients: CSV with the columns case and patient_id; None: each case is its own patient.
    Returns: pairs by name, and a notice for each side that has masks without a partner.
    Raises: UserError when nothing pairs, or two masks of one folder have one name.
    """
    predictions, truth = existing(predictions), existing(truth)
    notices: tuple[Notice, ...] = ()
    if table is not None:
        pairs = _stated(predictions, truth, table)
    else:
        ours, theirs = _masks_by_name(predictions), _masks_by_name(truth)
        both = sorted(ours.keys() & theirs.keys())
        pairs = [Pair(case=name, truth=theirs[name], predicted=ours[name], patient_id=name) for name in both]
        notices = tuple(
            Notice(code=code, sentence=f"{len(names)} {what}, not scored: {_some(names)}")
            for code, what, names in (
                ("truth-without-prediction", "truths have no prediction", sorted(theirs.keys() - ours.keys())),
                ("prediction-without-truth", "predictions have no truth", sorted(ours.keys() - theirs.keys())),
            )
            if names
        )
        if not pairs:
            what = f"no mask has a partner of the same name: {_some(sorted(ours))} against {_some(sorted(theirs))}"
            raise UserError(what, where=predictions, next="Pair them by hand: --pairs CSV with the columns prediction,truth.")
    if patients is not None:
        owner = {row["case"]: row["patient_id"] for row in read_table(patients, ("case", "patient_id"))}
        missing = [pair.case for pair in pairs if not owner.get(pair.case)]
        if missing:
            raise UserError(f"{len(missing)} cases have no patient_id: {_some(missing)}", where=patients)
        pairs = [Pair(case=p.case, truth=p.truth, predicted=p.predicted, patient_id=owner[p.case]) for p in pairs]
    return tuple(pairs), notices


def evaluate_pairs(
    pairs: Sequence[Pair],
    table: LabelTable,
    *,
    tolerance_mm: float = NSD_TOLERANCE_MM,
    pixel_size_mm: float | None = None,
    notices: Sequence[Notice] = (),
) -> EvaluationTable:
    """Score every pair.

    Args:
        table: what the values mean, in truth and prediction.
        pixel_size_mm: of pictures; None: no millimetres for them.
    Raises: UserError with all pairs whose grids differ or whose masks cannot be read: leaving them out would flatter the mean.
    """
    problems: list[str] = []
    evaluation = EvaluationTable.from_cases(
        _loaded(pairs, table, pixel_size_mm, problems), table, tolerance_mm=tolerance_mm, notices=notices
    )
    if problems:
        what = f"{len(problems)} of {len(pairs)} pairs cannot be compared: {sentences(problems, SHOWN)}"
        raise UserError(what, next="Bring each prediction to the grid of its truth, without interpolating values.")
    return evaluation


def table_of_truth(pairs: Sequence[Pair]) -> LabelTable:
    """A table of the values that occur in the truth, each named by its number; 0 is the background.

    Raises: UserError when the truth holds no whole values above 0.
    """
    counts: dict[float, int] = {}
    for pair in bar(pairs, title="values", unit="masks"):
        for value, n in value_counts(_raw(pair.truth).array).items():
            counts[value] = counts.get(value, 0) + n
    values = sorted(int(value) for value in counts if value == int(value) and 0 < value <= 255)
    if len(values) != len(counts.keys() - {0.0}) or not values:
        what = f"the truth holds {values_text(counts)}, from which no label table can be made"
        raise UserError(what, next="Name the structures: --labels NAME=VALUE,...")
    return label_table({f"label {value}": value for value in values})


def _loaded(pairs: Sequence[Pair], table: LabelTable, pixel_size_mm: float | None, problems: list[str]) -> Iterator[CaseMasks]:
    for pair in bar(pairs, title="scoring", unit="cases"):
        try:
            grid = _raw(pair.truth, pixel_size_mm=pixel_size_mm)
            truth = read_label_volume(pair.truth, like=grid, table=table)
            predicted = read_label_volume(pair.predicted, like=grid, table=table)
        except UserError as error:
            problems.append(f"{pair.case}: {error.what}")
            continue
        affine = grid.affine if grid.source.spacing_known else None
        yield CaseMasks(pair.case, pair.patient_id, truth.array, predicted.array, affine)


def _raw(path: Path, *, pixel_size_mm: float | None = None) -> Volume:
    if looks_like_nifti(path):
        return read_nifti(path)
    return read_picture(path, pixel_size_mm=pixel_size_mm, as_labels=True)


def _masks_by_name(folder: Path) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            inside = [p for p in sorted(entry.glob("mask.*")) if looks_like_nifti(p) or looks_like_picture(p)]
            name, file = entry.name, inside[0] if inside else None
        else:
            name, file = _plain(stem(entry)), entry if looks_like_nifti(entry) or looks_like_picture(entry) else None
        if file is None:
            continue
        if name in found:
            what = f"{found[name].name} and {file.name} both are masks of {name}"
            raise UserError(what, where=folder, next="Keep one, or pair them by hand: --pairs CSV.")
        found[name] = file
    return found


def _plain(name: str) -> str:
    for ending in MASK_ENDINGS:
        if ending and name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _stated(predictions: Path, truth: Path, table: Path) -> list[Pair]:
    pairs = []
    for row in read_table(table, ("prediction", "truth")):
        predicted, true = existing(predictions / row["prediction"]), existing(truth / row["truth"])
        if predicted.is_dir():
            predicted = _masks_by_name(predicted.parent).get(predicted.name, predicted)
        name = row.get("case") or _plain(stem(true))
        pairs.append(Pair(case=name, truth=true, predicted=predicted, patient_id=row.get("patient_id") or name))
    return pairs


def _some(names: Sequence[str]) -> str:
    return some(names, SHOWN) or "nothing"
