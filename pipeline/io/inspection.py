"""What a look at a folder or file found, and what the reader would do with it. Holds nothing of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Notice, UserError
from .volume import Volume

FORMAT = 1  # of the JSON; a change that readers must know raises it


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """One volume, whether it can be read or not."""

    series_number: int | None
    series: str  # the last 8 digits of its UID, '' where it is no DICOM
    description: str
    modality: str
    volume: str  # what tells it from the other volumes of its series, '' where it is the only one
    size: tuple[int, int, int]  # columns, rows, slices
    channels: int
    spacing_mm: tuple[float, float, float] | None  # between columns, rows, slices; None: not one number, or unknown
    plane: str  # in which the slices lie: the nearest of axial, coronal, sagittal; '' where it is not known
    geometry: str  # regular, sheared, gapped, irregular; '' where it cannot be judged
    residual_mm: float | None  # largest distance of a slice's corner from the even grid that fits best; DICOM only
    fault: str  # '' or why it cannot be read, with the file
    notices: tuple[Notice, ...]
    words: tuple[str, ...] | None  # what makes a command read exactly this volume: ("--series", "4"); None: nothing does
    taken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Files of one kind that are no slices of a volume."""

    why: str
    names: tuple[str, ...]  # without folders: archives name those after patients


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """What is there, and what `read_volume` would do with it."""

    path: Path
    kind: str  # dicom, nifti, picture
    patients: int  # counts; 0 where it is no DICOM
    studies: int
    series: int
    rows: tuple[VolumeRow, ...]
    set_aside: tuple[SetAside, ...]
    volume: Volume | None  # what is taken; None where it is refused or its pixels were not tried
    notices: tuple[Notice, ...]  # of what is taken
    refusal: UserError | None  # the reader's own; None where a volume is taken
    pixels_tried: bool

    @property
    def taken(self) -> VolumeRow | None:
        return next((row for row in self.rows if row.taken), None)

    @property
    def usable(self) -> bool:
        """Whether something is taken, or would be if it were named."""
        return self.taken is not None or any(not row.fault for row in self.rows)

    def to_json(self) -> dict[str, object]:
        """Plain types only; docs/inspect.md tells what each key means."""
        return {
            "format": FORMAT,
            "path": str(self.path),
            "kind": self.kind,
            "patients": self.patients,
            "studies": self.studies,
            "series": self.series,
            "volumes": [_row_json(row) for row in self.rows],
            "set_aside": [{"why": kind.why, "count": len(kind.names), "files": list(kind.names)} for kind in self.set_aside],
            "taken": next((number for number, row in enumerate(self.rows) if row.taken), None),
            "pixels_tried": self.pixels_tried,
            "refusal": None if self.refusal is None else str(self.refusal),
            "notices": [notice.to_json() for notice in self.notices],
        }


def _row_json(row: VolumeRow) -> dict[str, object]:
    return {
        "series_number": row.series_number,
        "series": row.series,
        "description": row.description,
        "modality": row.modality,
        "volume": row.volume,
        "size": list(row.size),
        "channels": row.channels,
        "spacing_mm": None if row.spacing_mm is None else [float(f"{edge:.6g}") for edge in row.spacing_mm],
        "plane": row.plane,
        "geometry": row.geometry,
        "residual_mm": None if row.residual_mm is None else round(row.residual_mm, 4),
        "fault": row.fault,
        "notices": [notice.to_json() for notice in row.notices],
        "words": None if row.words is None else list(row.words),
    }
