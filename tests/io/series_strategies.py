"""Draw series for the property tests: how the slices lie, how the numbers are stored, how the files are named and mixed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from oracle_series import NATIVE, PACKED, ROOT, Pixels, Plane, beside, classic, save, stack
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

EXAMPLES = int(os.environ.get("UNET_EXAMPLES", "200"))
SERIES = ROOT + "11111111"
EXACT_MM = 1e-3
LPS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def tries(share: float) -> settings:
    """This part of the examples; all properties together make up the number that is asked for."""
    count = max(int(EXAMPLES * share), 10)
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=EXAMPLES <= 200,
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes: a failure prints its recipe as it is
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="unet_series_"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


# --- how the slices lie ---


@st.composite
def axes(draw: st.DrawFn) -> np.ndarray:
    """(3, 3): along increasing column, along increasing row, their normal; any of the 48 axis orders, or oblique."""
    first = draw(st.sampled_from("LRPASI"))
    second = draw(st.sampled_from([letter for letter in "LRPASI" if np.dot(LPS[letter], LPS[first]) == 0]))
    turned = np.array([LPS[first], LPS[second], np.cross(LPS[first], LPS[second])], dtype=float).T
    for axis in draw(st.sampled_from([(), (0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])):
        angle = np.radians(draw(st.floats(-44, 44)))
        turn = np.eye(3)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


@st.composite
def grids(draw: st.DrawFn, *, least: int = 1, most: int = 7, nearest_mm: float = 0.3) -> dict[str, object]:
    """How a regular or sheared stack lies: what `stack` wants, and "shape"."""
    turned = draw(axes())
    distance = draw(st.floats(nearest_mm, 12)) * draw(st.sampled_from([-1, 1]))
    step = turned[:, 2] * distance
    if draw(st.booleans()):
        tilt = np.radians(draw(st.floats(-30, 30)))
        step = step + turned[:, draw(st.integers(0, 1))] * np.tan(tilt) * distance
    spacing = (draw(st.floats(0.2, 3)), draw(st.floats(0.2, 3)))
    return {
        "first": [draw(st.floats(-400, 400)) for _ in range(3)],
        "axes": turned,
        "spacing": tuple(round(s, 6) for s in spacing),
        "step": step,
        "digits": draw(st.integers(4, 9)),
        "shape": (draw(st.integers(least, most)), draw(st.integers(3, 6)), draw(st.integers(3, 7))),
    }


@st.composite
def pixel_forms(draw: st.DrawFn, *, packed: bool = True) -> Pixels:
    syntax = draw(st.sampled_from([*NATIVE, *(PACKED if packed else ())]))
    allocated = draw(st.sampled_from([16, 16, 16, 8]))
    least = 9 if syntax in PACKED else 8  # pydicom's encoders take 8 bits stored in 16 for 8 bits allocated
    bits = draw(st.integers(least, allocated)) if allocated > 8 else 8
    signed = draw(st.booleans())
    return Pixels(
        allocated=allocated, stored=bits, signed=signed, rubbish=draw(st.booleans()) and syntax in NATIVE, syntax=syntax
    )


def planes_of(grid: dict[str, object], pixels: Pixels, rng: np.random.Generator, **more: object) -> list[Plane]:
    slices, rows, columns = grid["shape"]
    small = pixels.syntax not in (JPEG2000Lossless, JPEGLSLossless)  # their encoders want 32 pixels at least
    shape = (slices, rows, columns) if small else (slices, rows + 32, columns + 32)
    stored = rng.integers(*pixels.limits, shape)
    return stack(stored, **{k: v for k, v in grid.items() if k != "shape"}, **more)


SCALES = st.sampled_from(["none", "none", "hounsfield", "one slope", "per slice"])


def scaled(planes: list[Plane], kind: str, rng: np.random.Generator) -> list[Plane]:
    if kind == "none":
        return planes
    if kind == "hounsfield":
        return [replace(plane, intercept=-1024.0) for plane in planes]
    slopes = [round(float(v), 5) for v in rng.uniform(0.01, 20, len(planes))]
    shifts = [round(float(v), 3) for v in rng.uniform(-500, 500, len(planes))]
    if kind == "one slope":
        return [replace(plane, slope=slopes[0], intercept=shifts[0]) for plane in planes]
    return [replace(plane, slope=a, intercept=b) for plane, a, b in zip(planes, slopes, shifts, strict=True)]


# --- how a series is written ---

NAMES = ("ordered", "backwards", "no ending", "misleading", "folders")
NUMBERS = ("ordered", "backwards", "constant", "absent", "random")


def file_names(kind: str, count: int, rng: np.random.Generator) -> list[str]:
    order = {"ordered": np.arange(count), "backwards": np.arange(count)[::-1]}.get(kind, rng.permutation(count))
    if kind == "no ending":
        return [f"IM{n:06x}" for n in rng.permutation(2**20)[:count]]
    if kind == "misleading":
        endings = [".txt", ".nii.gz", ".png", "", ".dcm"]
        return [f"slice {n} of {count}{endings[k % 5]}" for k, n in enumerate(order)]
    if kind == "folders":
        return [f"S{n % 3}/series 00{n % 2}/{n}" for n in order]
    return [f"{n:04d}.dcm" for n in order]


def instance_numbers(kind: str, count: int, rng: np.random.Generator) -> list[int | None]:
    if kind in ("constant", "absent"):
        return [1 if kind == "constant" else None] * count
    order = {"ordered": np.arange(count), "backwards": np.arange(count)[::-1]}.get(kind, rng.permutation(count))
    return [int(n) + 1 for n in order]


LIES = {
    "SliceLocation": [0.0, 17.5, -3.0],
    "SliceThickness": [None, 0.0, 5.0, 9.0],
    "SpacingBetweenSlices": [0.0, 2.5, -4.0],
    "GantryDetectorTilt": [0.0, 12.0, -25.0],
    "PhotometricInterpretation": ["MONOCHROME1", "MONOCHROME2"],
    "ImageComments": ["Größe µ"],
    "WindowCenter": [40],
}


@st.composite
def ways(draw: st.DrawFn) -> dict[str, object]:
    return {
        "names": draw(st.sampled_from(NAMES)),
        "numbers": draw(st.sampled_from(NUMBERS)),
        "modality": draw(st.sampled_from(["CT", "MR", "PT"])),
        "lies": {k: draw(st.sampled_from(v)) for k, v in LIES.items() if draw(st.booleans())},
        "bare": draw(st.booleans()),
        "beside": draw(st.sets(st.sampled_from(["localizer", "capture", "colour", "text", "empty"]))),
    }


def write(
    planes: list[Plane], path: Path, way: dict[str, object], pixels: Pixels, rng: np.random.Generator, series: str = SERIES
) -> list[Path]:
    """The files, in the order of the planes."""
    names = file_names(str(way["names"]), len(planes), rng)
    numbers = instance_numbers(str(way["numbers"]), len(planes), rng)
    lies = {k: v for k, v in way["lies"].items() if v is not None}
    if way["modality"] == "MR":
        lies.pop("GantryDetectorTilt", None)
    for k, (plane, name, number) in enumerate(zip(planes, names, numbers, strict=True)):
        uid = f"{series}.{k + 1}.{int(rng.integers(1, 2**31))}"
        dataset = classic(
            plane, number=number, uid=uid, series=series, modality=str(way["modality"]), pixels=pixels, seed=k, **lies
        )
        save(dataset, path / name, bare=bool(way["bare"]) and pixels.syntax == ImplicitVRLittleEndian)
    for k, kind in enumerate(sorted(way["beside"])):
        if kind == "text":
            (path / "README").write_text("of the burner\n")
        elif kind == "empty":
            (path / "nothing.dcm").touch()
        else:
            save(beside(kind, f"{ROOT}9{k}"), path / f"{kind}.dcm")
    return [path / name for name in names]


SEEDS = st.integers(0, 2**31)
PLAIN: dict[str, object] = {"lies": {}, "bare": False, "beside": frozenset()}
PLAIN_WAY = {"names": "ordered", "numbers": "ordered", "modality": "MR", **PLAIN}
TWELVE = Pixels()
