"""What a source of labelled images holds, before anything is read. Knows names, no voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Notice, some

MASK_ENDINGS = ("", "_mask", "_masks", "_seg", "_segmentation", "_label", "_labels", "_gt")  # image.png, image_mask.png


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCase:
    """One image with its mask, as it lies on the disk."""

    case: str
    image: tuple[Path, ...]  # files, or one DICOM folder; several are channels
    label: tuple[Path, ...]
    patient_id: str = ""  # "" where the source does not say
    fold: int | None = None
    modality: str = ""
    series: str = ""
    volume: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSet:
    """What a source holds."""

    kind: str  # the layout in words
    root: Path  # every file lies below it
    cases: tuple[FoundCase, ...]
    labels: Mapping[str, int] = field(default_factory=dict)  # name → value, where the source says it
    object_names: Mapping[str, int] = field(default_factory=dict)  # structures in RTSTRUCT and SEG → number of cases
    notices: tuple[Notice, ...] = ()


def stem(path: Path) -> str:
    """The file's name without .nii.gz, .nii or its last ending."""
    name = path.name
    return name[: -len(".nii.gz")] if name.endswith(".nii.gz") else path.stem


def told(code: str, what: str, names: Sequence[str]) -> Notice | None:
    """A notice that names what is left out, or None where nothing is.

    Args:
        what: in words, with {s} and {are} for the plural.
    """
    if not names:
        return None
    s, are = ("s", "are") if len(names) > 1 else ("", "is")
    return Notice(code=code, sentence=f"{len(names)} {what.format(s=s, are=are)}, left out: {some(names, 3)}")
