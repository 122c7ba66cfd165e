"""Cases from a tree of DICOM series with RTSTRUCT, SEG or NIfTI masks. Reads headers, never pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..io.dicom.find import FoundSeries, find_all
from ..io.nifti import looks_like_nifti
from .found import MASK_ENDINGS, FoundCase, FoundSet, stem, told

MASK_KINDS = ("seg", "rtstruct", "nifti")  # which is taken where a series has several: the one with whole voxels first
MASK_WORDS = ("mask", "seg", "label", "truth")


def find_dicom_cases(source: Path, *, modality: str = "", masks: str = "") -> FoundSet:
    """Every image series that has a mask.

    Args:
        source: a folder; series are found by content, RTSTRUCT and SEG by the series that they name, a NIfTI mask by its
            name (that of the series' folder) or by being the only one in the series' folder or beside it.
        modality: only series of this one; "" for all, which must then be of one.
        masks: only this kind of `MASK_KINDS`; "" for whatever there is.
    Raises: UserError where nothing fits, with what there is instead.
    """
    found = find_all(source)
    if not found.series:
        next_step = "Expected: imagesTr/ and labelsTr/, images/ and masks/, a CSV file, or DICOM series."
        raise UserError("no layout of a labelled data set is recognised here", where=source, next=next_step)
    wanted = [series for series in found.series if not modality or series.modality == modality]
    cases: list[FoundCase] = []
    names: Counter[str] = Counter()
    left_out: dict[str, list[str]] = {"unmasked": [], "unreadable": [], "several": []}
    for series, name in zip(wanted, _case_names(wanted, source), strict=True):
        mask = _mask_of(series, wanted, source, masks)
        if mask is None:
            left_out["unmasked"].append(name)
        elif series.fault:
            left_out["unreadable"].append(f"{name} ({series.fault})")
        elif len(series.volumes) > 1:
            left_out["several"].append(f"{name} ({', '.join(series.volumes[:4])})")
        else:
            cases.append(_case(series, name, mask, found.series))
            names.update(n for o in series.label_objects if o.path == mask for n in o.structure_names)
    told_all = [
        told("series-without-mask", "series without a mask", left_out["unmasked"]),
        told("series-unreadable", "series that cannot be read", left_out["unreadable"]),
        told("series-of-several-volumes", "series of several volumes", left_out["several"]),
        told("other-modality", f"series of another modality than {modality}", _others(found.series, modality)),
        told("masks-without-series", "RTSTRUCT or SEG whose series is not here", [o.path.name for o in found.strays]),
    ]
    notices = tuple(notice for notice in told_all if notice is not None)
    if not cases:
        reasons = "; ".join(notice.sentence for notice in notices)
        raise UserError(
            f"no DICOM series with a mask can be used: {reasons}", where=source, next="docs/data.md shows the layouts."
        )
    _refuse_mixture(cases, source)
    return FoundSet(
        kind=f"DICOM tree, {len(cases)} of {len(found.series)} series with a mask",
        root=source,
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        object_names=dict(sorted(names.items())),
        notices=notices,
    )


def _case(series: FoundSeries, name: str, mask: Path, everything: Sequence[FoundSeries]) -> FoundCase:
    crowded = any(series.folder in file.parents for other in everything if other is not series for file in other.files)
    return FoundCase(
        case=name,
        image=(series.folder,),
        label=(mask,),
        patient_id=series.patient,
        modality=series.modality,
        series=series.short_uid if crowded else "",
    )


def _others(series: Sequence[FoundSeries], modality: str) -> list[str]:
    return [f"{s.modality} {s.short_uid}" for s in series if modality and s.modality != modality]


def _refuse_mixture(cases: Sequence[FoundCase], source: Path) -> None:
    counts = Counter(case.modality for case in cases)
    if len(counts) > 1:
        what = "series of several modalities: " + ", ".join(f"{n} {code}" for code, n in counts.most_common())
        raise UserError(what, where=source, next=f"One network learns one: add --modality {counts.most_common(1)[0][0]}")


def _case_names(series: Sequence[FoundSeries], source: Path) -> list[str]:
    """The series' folders without what all of them share at the end: patient_01/series → patient_01."""
    parts = [s.folder.relative_to(source).parts or (source.resolve().name,) for s in series]
    while parts and len({p[-1] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[:-1] for p in parts]
    names = ["_".join(p) for p in parts]
    return [name if names.count(name) == 1 else f"{name}_{s.short_uid}" for name, s in zip(names, series, strict=True)]


def _mask_of(series: FoundSeries, everything: Sequence[FoundSeries], source: Path, masks: str) -> Path | None:
    """The series' mask, or None. Raises: UserError where two of one kind claim the series."""
    for kind in (masks,) if masks else MASK_KINDS:
        if kind == "nifti":
            found = _nifti_masks(series, everything, source)
        else:
            found = [o.path for o in series.label_objects if o.kind == kind]
        if len(found) > 1:
            what = f"{len(found)} {kind.upper()} masks claim one series: {', '.join(p.name for p in found[:4])}"
            raise UserError(
                what, where=series.folder, next="Keep one of them, or list images and masks in a CSV (image,label)."
            )
        if found:
            return found[0]
    return None


def _nifti_masks(series: FoundSeries, everything: Sequence[FoundSeries], source: Path) -> list[Path]:
    """NIfTI files that can only be this series' mask; several where that is not clear."""
    folder = series.folder
    beside = _nifti_files(folder.parent) if folder != source else []
    named = [p for p in beside if stem(p) in {folder.name + ending for ending in MASK_ENDINGS}]
    if named:
        return named
    inside = _likely_masks(_nifti_files(folder)) if not _shared(folder, series, everything) else []
    if inside or folder == source or _shared(folder.parent, series, everything):
        return inside
    return _likely_masks(beside)


def _shared(folder: Path, series: FoundSeries, everything: Sequence[FoundSeries]) -> bool:
    """Whether another series lies below the folder too: then a mask there belongs to nobody in particular."""
    return any(other is not series and (other.folder == folder or folder in other.folder.parents) for other in everything)


def _nifti_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".") and looks_like_nifti(p))


def _likely_masks(files: list[Path]) -> list[Path]:
    called = [p for p in files if any(word in p.name.lower() for word in MASK_WORDS)]
    return called or files
