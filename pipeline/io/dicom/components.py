"""Tell which part of a complex signal, or which map made of it, an MR image shows. Knows no files."""

from __future__ import annotations

COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
MAPS = {"FIELD_MAP": "field map", "FIELD MAP": "field map", "VELOCITY MAP": "velocity map", "VELOCITY": "velocity map"}


def component_of(stated: str, image_type: tuple[str, ...]) -> str:
    """Which part of a complex signal, from its own attribute or the third and later values of Image Type ('P', 'SW_P', ...)."""
    names = {name.upper(): name for name in COMPONENTS.values()}
    for part in image_type[2:]:
        if part in MAPS:
            return MAPS[part]
    if stated.upper() in names:
        return names[stated.upper()]
    for part in image_type[2:]:
        if part in COMPONENTS or part in names:
            return COMPONENTS.get(part) or names[part]
        ending = part.rpartition("_")[2]
        if part.count("_") == 1 and ending in COMPONENTS and len(part) <= 4:
            return COMPONENTS[ending]
    return ""
