"""What the functional groups of a multi-frame object say that may tell volumes apart. Knows nothing of places and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .elements import get, integer, items, number, numbers, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Dimension Index Pointers to Stack ID, place in the stack, position, plane position, slice location
SPATIAL = (0x00209056, 0x00209057, 0x00200032, 0x00209113, 0x00201041)
# field of a frame → where its number stands, the first that is there: (sequence of the functional groups, keyword)
LOOSE = "UnassignedPerFrameConvertedAttributesSequence"  # what a converter of classic images found no place for
NUMBERS: dict[str, tuple[tuple[str, str], ...]] = {
    "echo_time_ms": (("MREchoSequence", "EffectiveEchoTime"), (LOOSE, "EchoTime")),
    "b_value": (("MRDiffusionSequence", "DiffusionBValue"), (LOOSE, "DiffusionBValue")),
    "inversion_time_ms": (("MRModifierSequence", "InversionTimes"), (LOOSE, "InversionTime")),
    "flip_angle_deg": (("MRTimingAndRelatedParametersSequence", "FlipAngle"), (LOOSE, "FlipAngle")),
    "kvp": (("CTXRayDetailsSequence", "KVP"), (LOOSE, "KVP")),
    "trigger_time_ms": (
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
        ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
        (LOOSE, "TriggerTime"),
    ),
}
WHOLE_NUMBERS: dict[str, tuple[tuple[str, str], ...]] = {
    "echo_number": ((LOOSE, "EchoNumbers"),),
    "temporal_position": (("FrameContentSequence", "TemporalPositionIndex"), (LOOSE, "TemporalPositionIdentifier")),
    "acquisition_number": (("FrameContentSequence", "FrameAcquisitionNumber"), (LOOSE, "AcquisitionNumber")),
}
Item = Callable[[str], "Dataset | None"]


def told_by_groups(item: Item, dimensions: tuple[int, ...] | None) -> dict[str, object]:
    """The fields of a frame that may tell it from another at the same place.

    Args:
        item: gives the item of a sequence, from the frame's own groups first, then from the shared ones.
        dimensions: see `telling_dimensions`.
    """
    content, diffusion = item("FrameContentSequence"), item("MRDiffusionSequence")
    gradient = items(diffusion, "DiffusionGradientDirectionSequence") if diffusion is not None else []
    found: dict[str, object] = {field: _first(item, places) for field, places in NUMBERS.items()}
    for field, places in WHOLE_NUMBERS.items():
        value = _first(item, places)
        found[field] = None if value is None else int(value)
    found["gradient"] = numbers(gradient[0], "DiffusionGradientOrientation", 3) if gradient else None
    found["stack"] = text(content, "StackID") if content is not None else ""
    found["acquisition_time"] = text(content, "FrameAcquisitionDateTime") if content is not None else ""
    found["dimensions"] = _dimensions(content, dimensions) if content is not None else ()
    loose = item(LOOSE)
    if loose is not None and number(loose, "InstanceNumber") is not None:
        found["instance_number"] = integer(loose, "InstanceNumber")
    return found


def telling_dimensions(dataset: Dataset) -> tuple[int, ...] | None:
    """Which places of Dimension Index Values do not speak of the position; None where the object has no dimensions."""
    pointers = [integer(item, "DimensionIndexPointer", -1) for item in items(dataset, "DimensionIndexSequence")]
    return tuple(k for k, pointer in enumerate(pointers) if pointer not in SPATIAL) if pointers else None


def _first(item: Item, places: tuple[tuple[str, str], ...]) -> float | None:
    for sequence, keyword in places:
        place = item(sequence)
        value = number(place, keyword) if place is not None else None
        if value is not None:
            return value
    return None


def _dimensions(content: Dataset, telling: tuple[int, ...] | None) -> tuple[int, ...]:
    """The index values that do not speak of the place; none where the object does not say which do."""
    value = get(content, "DimensionIndexValues")
    values = [int(v) for v in value] if hasattr(value, "__iter__") and not isinstance(value, str | bytes) else []  # type: ignore[attr-defined]
    return tuple(values[k] for k in telling if k < len(values)) if telling is not None else ()
