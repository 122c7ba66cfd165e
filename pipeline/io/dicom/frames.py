"""One frame of pixels with all that its header says of place, kind and scale, from classic and Enhanced objects alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import private
from .components import component_of
from .elements import Damaged, get, integer, items, number, numbers, text, texts
from .stored import has_float_pixels, padding_of, unreadable_scale, unreadable_values
from .telling import telling_dimensions, told_by_groups

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SHORTEST_NAME = 3  # shorter parts of a name are found in any text
FARTHEST_MM = 1e6  # from the origin: positions beyond are damaged numbers, no places
LARGEST_COSINE = 10.0  # beyond it is no direction; up to it the message says by how much it is off
SMALLEST_MM, LARGEST_MM = 1e-7, 1e4  # of a pixel: electron microscopes stay above, everything else below
LOCALIZERS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "REF_SURVIEW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame. Places are DICOM's own (LPS, mm); None where the header does not say."""

    file: Path
    index: int = 0  # from 0: which frame of its file
    sop_class: str
    sop_uid: str
    series_uid: str
    series_number: int | None
    study_uid: str = ""
    description: str = ""  # of the series, '' where it holds the patient's name, ID or birth date
    frame_of_reference_uid: str
    modality: str
    transfer_syntax: str
    patient: str  # hashed
    # the pixels
    rows: int
    columns: int
    frame_count: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[float, float] | None  # stored values that mean "no data", from and to
    rescaled: bool = True  # False: neither slope, intercept nor table says what the values mean
    modality_lut: bool = False  # values go through a table instead of slope and intercept
    lossy: bool = False  # the object says that its pixels went through lossy compression
    unreadable: tuple[str, ...] = ()  # attributes that decide on values and are there, but are no number
    tiled: bool = False  # many slices in one image
    float_pixels: bool = False  # they are fractions, not numbers of so many bits
    high_bit: int = 0  # the highest of the stored bits
    pixels_at: int = 0  # byte of the file where the element with the pixels begins; 0: not known (deflated)
    # the place
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None  # (between rows, between columns)
    thickness_mm: float | None
    slice_spacing_mm: float | None
    # what may tell it from another frame at the same place
    stack: str = ""
    echo_number: int | None = None
    echo_time_ms: float | None = None
    b_value: float | None = None
    gradient: tuple[float, ...] | None = None
    image_type: tuple[str, ...] = ()
    component: str = ""  # magnitude, phase, real, imaginary, a kind of map, or ''
    temporal_position: int | None = None
    trigger_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    kvp: float | None = None
    dimensions: tuple[int, ...] = ()  # of a multi-frame object: index values that do not speak of the place
    acquisition_number: int | None = None
    acquisition_time: str = ""
    instance_number: int | None = None

    @property
    def no_volume_kind(self) -> str:
        """'' for a frame that may be a slice of a volume, else what it is instead."""
        if self.samples != 1 or self.photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
            return f"colour image ({self.photometric or f'{self.samples} samples a pixel'})"
        if self.tiled or "MOSAIC" in self.image_type:
            return "mosaic (a volume tiled into one image)"
        if self.sop_class == SECONDARY_CAPTURE or self.sop_class.startswith(SECONDARY_CAPTURE + "."):
            return "secondary capture (a picture without a position in the patient)"
        if any(part.startswith(LOCALIZERS) for part in self.image_type):
            return "localizer"
        if "SCREEN SAVE" in self.image_type:
            return "screen capture"
        if self.position is None and self.modality not in ("CT", "MR", "PT"):
            return f"image without a position in the patient ({self.modality or 'no modality'})"
        return ""

    @property
    def name(self) -> str:
        """The file's name, with the frame's number where the file has several."""
        return self.file.name if self.frame_count == 1 else f"{self.file.name} frame {self.index + 1}"

    @property
    def missing(self) -> str:
        """The attributes without which no millimetres or values are known, '' where all are there."""
        names = {
            "ImageOrientationPatient (orientation)": self.orientation,
            "ImagePositionPatient (position)": self.position,
            "PixelSpacing": self.pixel_spacing,
            "PhotometricInterpretation": self.photometric or None,
        }
        return ", ".join([*(name for name, value in names.items() if value is None), *self.unreadable])


def frames_of(dataset: Dataset, path: Path, *, patient: str, pixels_at: int = 0) -> list[Frame]:
    """All frames of one image object, in its own order. Raises: Damaged when the functional groups do not match the frames."""
    base = replace(_from_top(dataset, path, patient), pixels_at=pixels_at)
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not per_frame:
        # a multi-frame object without functional groups has one position at most: its frames share nothing we could trust
        return [base if base.frame_count == 1 else replace(base, position=None)]
    if len(per_frame) != base.frame_count:
        raise Damaged(f"{len(per_frame)} functional groups for {base.frame_count} frames")
    shared = (items(dataset, "SharedFunctionalGroupsSequence") or [None])[0]
    telling = telling_dimensions(dataset)
    return [_from_groups(base, index, group, shared, telling) for index, group in enumerate(per_frame)]


def _from_top(dataset: Dataset, path: Path, patient: str) -> Frame:
    faults = unreadable_values(dataset)
    image_type = tuple(part.upper() for part in texts(dataset, "ImageType"))
    slope, modality = number(dataset, "RescaleSlope"), text(dataset, "Modality")
    signed = integer(dataset, "PixelRepresentation") == 1
    bits = integer(dataset, "BitsStored", integer(dataset, "BitsAllocated"))
    return Frame(
        file=path,
        sop_class=text(dataset, "SOPClassUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        series_number=_whole(number(dataset, "SeriesNumber")),
        study_uid=text(dataset, "StudyInstanceUID"),
        description=_description(dataset),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        modality=modality,
        transfer_syntax=text(getattr(dataset, "file_meta", None) or dataset, "TransferSyntaxUID"),
        patient=patient,
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        frame_count=max(integer(dataset, "NumberOfFrames", 1), 1),
        samples=integer(dataset, "SamplesPerPixel", 1),
        photometric=text(dataset, "PhotometricInterpretation").upper(),
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=bits,
        signed=signed,
        high_bit=integer(dataset, "HighBit", bits - 1),
        slope=1.0 if slope is None else slope,
        intercept=number(dataset, "RescaleIntercept") or 0.0,
        padding=padding_of(dataset, signed),
        rescaled=slope is not None or number(dataset, "RescaleIntercept") is not None,
        modality_lut=bool(items(dataset, "ModalityLUTSequence")),
        lossy=text(dataset, "LossyImageCompression") == "01",
        unreadable=faults,
        float_pixels=has_float_pixels(dataset),
        tiled=private.tiles(dataset) > 1,
        position=_place(numbers(dataset, "ImagePositionPatient", 3)),
        orientation=_direction(numbers(dataset, "ImageOrientationPatient", 6)),
        pixel_spacing=_positive(numbers(dataset, "PixelSpacing", 2)),
        thickness_mm=_length(number(dataset, "SliceThickness")),
        slice_spacing_mm=_length(number(dataset, "SpacingBetweenSlices")),
        echo_number=_whole(number(dataset, "EchoNumbers")),
        echo_time_ms=number(dataset, "EchoTime"),
        b_value=_b_value(dataset, modality),
        gradient=numbers(dataset, "DiffusionGradientOrientation", 3),
        image_type=image_type,
        component=component_of(text(dataset, "ComplexImageComponent"), image_type) if modality == "MR" else "",
        temporal_position=_whole(number(dataset, "TemporalPositionIdentifier")),
        trigger_time_ms=_first_of(dataset, "TriggerTime", "NominalPercentageOfCardiacPhase"),
        inversion_time_ms=number(dataset, "InversionTime"),
        flip_angle_deg=number(dataset, "FlipAngle"),
        kvp=number(dataset, "KVP"),
        acquisition_number=_whole(number(dataset, "AcquisitionNumber")),
        acquisition_time=text(dataset, "AcquisitionDateTime")
        or text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime"),
        instance_number=_whole(number(dataset, "InstanceNumber")),
    )


def _description(dataset: Dataset) -> str:
    """The series' description in one line; '' where it holds a part of the patient's name, ID or date of birth."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text(dataset, "SeriesDescription")).split())
    if not words:
        return ""
    known = " ".join(text(dataset, keyword) for keyword in ("PatientName", "PatientID", "PatientBirthDate"))
    secrets = re.split(r"[\s^=]+", known.lower())
    return "" if any(len(s) >= SHORTEST_NAME and s in words.lower() for s in secrets) else words


def _from_groups(base: Frame, index: int, group: Dataset, shared: Dataset | None, telling: tuple[int, ...] | None) -> Frame:
    """The frame of a multi-frame object: per-frame groups first, then the shared ones (PS3.3 C.7.6.16)."""

    def item(sequence: str) -> Dataset | None:
        for place in (group, shared):
            found = items(place, sequence) if place is not None else []
            if found:
                return found[0]
        return None

    plane, turn, measures = item("PlanePositionSequence"), item("PlaneOrientationSequence"), item("PixelMeasuresSequence")
    scale = item("PixelValueTransformationSequence")
    faults = unreadable_scale(group, shared, scale, outside=(base.slope, base.intercept) != (1.0, 0.0))
    kind = next(
        (k for k in map(item, ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")) if k), None
    )
    image_type = tuple(t.upper() for t in texts(kind, "FrameType")) if kind else base.image_type
    slope = number(scale, "RescaleSlope") if scale else None
    return replace(
        base,
        index=index,
        unreadable=(*base.unreadable, *faults),
        position=_place(numbers(plane, "ImagePositionPatient", 3)) if plane else None,
        orientation=_direction(numbers(turn, "ImageOrientationPatient", 6)) if turn else None,
        pixel_spacing=_positive(numbers(measures, "PixelSpacing", 2)) if measures else None,
        thickness_mm=_length(number(measures, "SliceThickness")) if measures else None,
        slice_spacing_mm=_length(number(measures, "SpacingBetweenSlices")) if measures else None,
        slope=1.0 if slope is None else slope,
        intercept=(number(scale, "RescaleIntercept") or 0.0) if scale else 0.0,
        rescaled=scale is not None,
        image_type=image_type,
        component=component_of(text(kind, "ComplexImageComponent"), image_type)
        if kind and base.modality == "MR"
        else base.component,
        **told_by_groups(item, telling),  # type: ignore[arg-type]
    )


def _first_of(dataset: Dataset, *keywords: str) -> float | None:
    return next((found for keyword in keywords if (found := number(dataset, keyword)) is not None), None)


def _b_value(dataset: Dataset, modality: str) -> float | None:
    stated = number(dataset, "DiffusionBValue")
    return private.b_value(dataset) if stated is None and modality == "MR" else stated


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _positive(spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return spacing if spacing is not None and min(spacing) >= SMALLEST_MM and max(spacing) <= LARGEST_MM else None


def _length(value_mm: float | None) -> float | None:
    return value_mm if value_mm is not None and abs(value_mm) <= LARGEST_MM else None


def _direction(cosines: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return cosines if cosines is not None and max(map(abs, cosines)) <= LARGEST_COSINE else None


def _place(position: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return position if position is not None and max(map(abs, position)) <= FARTHEST_MM else None


def has_pixels(dataset: Dataset) -> bool:
    """Whether a header read without its pixels belongs to an image object."""
    return get(dataset, "Rows") is not None and get(dataset, "Columns") is not None
