"""Which distortions a data set allows: left stays left, and Hounsfield units have no bias field. Knows no pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..codes import SIDES, words_of
from ..errors import UserError, nearest
from ..labels import LabelTable, Structure
from .augmentation import Augmentation
from .manifest import Manifest
from .slice_grid import AXES, Plane

# A word that says the side of the body in a structure's name → "left" or "right". Too many only lead to a question.
SIDE_WORDS: Mapping[str, str] = {word: side for word, side in SIDES.items() if side in ("left", "right")} | {
    "links": "left", "linke": "left", "linker": "left", "linkes": "left",
    "rechts": "right", "rechte": "right", "rechter": "right", "rechtes": "right",
    "gauche": "left", "droit": "right", "droite": "right",
    "izquierdo": "left", "izquierda": "left", "derecho": "right", "derecha": "right",
    "sinistro": "left", "sinistra": "left", "destro": "right", "destra": "right",
}  # fmt: skip


def check_augmentation(settings: Augmentation, plane: Plane, manifest: Manifest) -> None:
    """Raises: UserError for a bias field in CT, and for flips that would teach a wrong side (see `swaps_of`)."""
    ct = sum(case.modality == "CT" for case in manifest.cases)
    if settings.bias_field_probability > 0 and ct:
        raise UserError(
            f"augmentation.bias_field_probability is {settings.bias_field_probability:g}, but {ct} of {len(manifest.cases)}"
            " cases are CT: Hounsfield units mean the same everywhere in a scan",
            where=manifest.name,
            next="Set it to 0: a bias field is a fault of MR.",
        )
    swaps_of(settings, plane, manifest.table)


def swaps_of(settings: Augmentation, plane: Plane, table: LabelTable) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each axis that is flipped, the places in the label table of structures that change names in the mirror.

    Along the patient's left-right axis every structure with a side in its name needs its partner in `flip_pairs`: a mirrored
    left kidney looks like a right one. Along the other axes of a plane sides stay what they are.

    Raises: UserError for a pair that the table does not hold; for a sided structure without a partner, where left and right
        are flipped; for any flip with sided structures where the plane is as stored, so that nobody knows which axis that is.
    """
    pairs = _pairs(settings, table)
    paired = {place for pair in pairs for place in pair}
    sided = [s for place, s in enumerate(table.structures) if place not in paired and side_of(s)]
    if plane == "stored" and settings.flips and (sided or pairs):
        names = ", ".join(s.name for s in sided) or ", ".join(name for pair in settings.flip_pairs for name in pair)
        raise UserError(
            f"flips along {' and '.join(settings.flips)}, but {names} have sides, and which axis is the patient's left-right is"
            " not known in the plane 'stored'",
            where="augmentation.flips",
            next="Write flips: [], or choose preprocessing.plane: axial, coronal or sagittal.",
        )
    across = [axis for axis in settings.flips if axis == left_right_axis(plane)]
    if across and sided:
        names = ", ".join(s.name for s in sided)
        raise UserError(
            f"{across[0]} run from the patient's right to left, and a flip would give {names} the wrong side",
            where="augmentation.flips",
            next=_advice(sided, across[0], settings),
        )
    return {axis: pairs if axis in across else () for axis in settings.flips}


def left_right_axis(plane: Plane) -> str | None:
    """Whether columns or rows of a slice run along the patient's left-right axis; None: neither, or not known."""
    directions = zip(("columns", "rows"), AXES.get(plane, ""), strict=False)
    return next((axis for axis, direction in directions if direction in "LR"), None)


def _pairs(settings: Augmentation, table: LabelTable) -> tuple[tuple[int, int], ...]:
    names = [name for pair in settings.flip_pairs for name in pair]
    problems = [f"'{name}' is not a structure{nearest(name, table.names)}" for name in names if name not in table.names]
    problems += [f"{name} stands in two pairs" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise UserError("; ".join(problems), where="augmentation.flip_pairs", next="A structure has one partner in the mirror.")
    return tuple((table.names.index(one), table.names.index(other)) for one, other in settings.flip_pairs)


def side_of(structure: Structure) -> str | None:
    """ "left" or "right", by the structure's name or code; None where it has no side, or both."""
    sides = {SIDE_WORDS[word] for word in words_of(structure.name) if word in SIDE_WORDS}
    if structure.code is not None:
        sides |= {word for word in structure.code.modifiers if word in ("left", "right")}
    return sides.pop() if len(sides) == 1 else None


def _advice(sided: Iterable[Structure], axis: str, settings: Augmentation) -> str:
    """What to write: the pairs, where every sided structure has a partner of the same name but for the side."""
    found: dict[str, dict[str, str]] = {}
    for structure in sided:
        rest = " ".join(word for word in words_of(structure.name) if word not in SIDE_WORDS)
        found.setdefault(rest, {})[side_of(structure) or ""] = structure.name
    fewer = [a for a in settings.flips if a != axis]
    without = f"write flips: [{', '.join(fewer)}]"
    if any(len(pair) != 2 for pair in found.values()):
        return f"They have no partner in the label table: {without}."
    pairs = [list(pair) for pair in settings.flip_pairs] + [[pair["left"], pair["right"]] for pair in found.values()]
    text = ", ".join(f"[{one}, {other}]" for one, other in pairs)
    return f"Let them change names with augmentation.flip_pairs: [{text}], or {without}."
