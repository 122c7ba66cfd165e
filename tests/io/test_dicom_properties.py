"""Any series, written with pydicom alone: every pixel at its millimetre with its value, or refused. Never silently wrong.

`UNET_EXAMPLES=5000 pytest tests/io/test_dicom_properties.py` tries more of them (`make test-long`).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle_series import NATIVE, PACKED, ROOT, Pixels, Plane, beside, classic, enhanced, misplaced, save, stack
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from pipeline.errors import UserError
from pipeline.io.read import read_volume

EXAMPLES = int(os.environ.get("UNET_EXAMPLES", "200"))
SERIES = ROOT + "11111111"
EXACT_MM = 1e-3
JITTER_MM = 0.1
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


# --- one regular volume, however it is sent ---


@tries(0.3)
@given(grid=grids(), pixels=pixel_forms(), way=ways(), scale=SCALES, seed=SEEDS)
def test_a_series_is_right_in_millimetres_however_it_lies_and_is_sent(grid, pixels, way, scale, seed) -> None:
    rng = np.random.default_rng(seed)
    planes = scaled(planes_of(grid, pixels, rng), scale, rng)
    with folder() as path:
        write(planes, path, way, pixels, rng)
        volume = read_volume(path)
    if len(planes) > 1:
        assert misplaced(volume, planes, tolerance_mm=EXACT_MM) == ""
    else:
        assert volume.shape[2] == 1 and misplaced(volume, planes, tolerance_mm=EXACT_MM) == ""
    assert volume.modality == way["modality"]


@tries(0.05)
@given(grid=grids(), pixels=pixel_forms(packed=False), modality=st.sampled_from(["CT", "MR"]), scale=SCALES, seed=SEEDS)
def test_padding_becomes_air_in_ct_and_nothing_else_changes(grid, pixels, modality, scale, seed) -> None:
    rng = np.random.default_rng(seed)
    padding = int(rng.integers(*pixels.limits))
    planes = [replace(plane, padding=padding) for plane in scaled(planes_of(grid, pixels, rng), scale, rng)]
    for plane in planes:
        plane.stored[0, :2] = padding
    with folder() as path:
        write(planes, path, {"names": "ordered", "numbers": "ordered", "modality": modality, **PLAIN}, pixels, rng)
        volume = read_volume(path)
    assert misplaced(volume, planes, tolerance_mm=EXACT_MM, air=-1024 if modality == "CT" else None) == ""
    assert any(notice.code == "padding" for notice in volume.source.notices)


PLAIN: dict[str, object] = {"lies": {}, "bare": False, "beside": frozenset()}
PLAIN_WAY = {"names": "ordered", "numbers": "ordered", "modality": "MR", **PLAIN}
TWELVE = Pixels()


@tries(0.1)
@given(grid=grids(least=2), way=ways(), pixels=pixel_forms(), scale=SCALES, data=st.data(), seed=SEEDS)
def test_copies_resent_files_and_lost_ends_do_no_harm(grid, way, pixels, scale, data, seed) -> None:
    rng = np.random.default_rng(seed)
    planes = scaled(planes_of(grid, pixels, rng), scale, rng)
    low = data.draw(st.integers(0, len(planes) - 1), label="first slice kept")
    planes = planes[low : data.draw(st.integers(low + 1, len(planes)), label="end")]
    twice = data.draw(st.lists(st.integers(0, len(planes) - 1), max_size=4), label="there twice")
    with folder() as path:
        files = write(planes, path, way, pixels, rng)
        for n, k in enumerate(twice):
            shutil.copy(files[k], path / f"copy {n}")
        if data.draw(st.booleans(), label="sent again under new UIDs"):
            resent = [planes[k] for k in twice[:2]]
            write(resent, path / "again", {**way, "beside": ()}, pixels, rng) if resent else None
        volume = read_volume(path)
    assert misplaced(volume, planes, tolerance_mm=EXACT_MM) == ""
    assert any(notice.code == "slices-duplicated" for notice in volume.source.notices) == bool(twice)


# --- what must be refused ---


@tries(0.1)
@given(grid=grids(least=4, most=9), way=ways(), data=st.data(), seed=SEEDS)
def test_a_lost_slice_is_named_by_its_neighbours(grid, way, data, seed) -> None:
    rng = np.random.default_rng(seed)
    planes = planes_of(grid, TWELVE, rng)
    hole = data.draw(st.integers(1, len(planes) - 2), label="lost")
    with folder() as path:
        files = write(planes, path, way, TWELVE, rng)
        files[hole].unlink()
        with pytest.raises(UserError) as refusal:
            read_volume(path)
    named = str(refusal.value)
    assert files[hole - 1].name in named and files[hole + 1].name in named
    distance_mm = float(np.linalg.norm(np.array(planes[0].first) - planes[1].first))
    assert f"{2 * distance_mm:.2f} mm" in named or re.search(r"\d+\.\d\d mm", named)


@st.composite
def faults(draw: st.DrawFn) -> tuple[str, float]:
    kind = draw(st.sampled_from(["beside", "along", "turned", "pixel size", "size", "bits", "sign", "contradiction", "cut"]))
    return kind, draw(st.floats(1, 3)) * draw(st.sampled_from([-1, 1]))


@tries(0.1)
@given(grid=grids(least=4, nearest_mm=1.5), fault=faults(), data=st.data(), seed=SEEDS)
def test_one_slice_that_does_not_fit_is_refused_by_its_name(grid, fault, data, seed) -> None:
    rng = np.random.default_rng(seed)
    planes, (kind, amount) = planes_of(grid, TWELVE, rng), fault
    k = data.draw(st.integers(0, len(planes) - 1), label="the odd one")
    turned, odd, form = np.array(grid["axes"]), planes[k], TWELVE
    step_mm = float(np.linalg.norm(grid["step"]))
    if kind in ("beside", "along"):
        way = turned[:, 0] if kind == "beside" else np.array(grid["step"]) / step_mm
        away_mm = amount if kind == "beside" else np.clip(amount, -0.3 * step_mm, 0.3 * step_mm)
        away_mm += np.sign(away_mm) * 0.3  # clearly more than the tolerance
        odd = replace(odd, first=tuple(np.array(odd.first) + way * away_mm))
    elif kind == "turned":
        angle = np.radians(amount)
        along_row = turned[:, 0] * np.cos(angle) + turned[:, 1] * np.sin(angle)
        along_column = turned[:, 1] * np.cos(angle) - turned[:, 0] * np.sin(angle)
        odd = replace(odd, cosines=(*along_row, *along_column))
    elif kind == "pixel size":
        odd = replace(odd, spacing=(odd.spacing[0], odd.spacing[1] * (1 + 0.01 * amount)))
    elif kind == "size":
        odd = replace(odd, stored=odd.stored[:-1])
    elif kind in ("bits", "sign"):
        form = replace(TWELVE, stored=16) if kind == "bits" else replace(TWELVE, signed=True)
    with folder() as path:
        files = write(planes, path, PLAIN_WAY, TWELVE, rng)
        name = files[k].name
        if kind == "cut":
            whole = files[k].read_bytes()
            files[k].write_bytes(whole[: data.draw(st.integers(132, len(whole) - 1), label="cut to")])
        elif kind == "contradiction":
            other = replace(odd, stored=odd.stored[::-1, ::-1] ^ 1)
            save(classic(other, number=k + 1, uid=ROOT + "3.3", series=SERIES, modality="MR", pixels=TWELVE), path / "z.dcm")
        else:
            save(classic(odd, number=k + 1, uid=ROOT + "3.3", series=SERIES, modality="MR", pixels=form), files[k])
        try:
            volume = read_volume(path)
        except UserError as refusal:
            assert kind == "cut" or name in str(refusal) or "volumes" in str(refusal)
            return
    # cut so early that it is no longer known as a slice of this series: the rest must be whole by itself, and the file named
    assert kind == "cut" and k in (0, len(planes) - 1)
    assert name in dict(volume.source.files_set_aside)
    assert any(name in str(notice) for notice in volume.source.notices)
    assert misplaced(volume, [*planes[:k], *planes[k + 1 :]], tolerance_mm=EXACT_MM) == ""


@tries(0.1)
@given(grid=grids(least=3), amount_mm=st.floats(0, 0.3), axis=st.integers(0, 2), seed=SEEDS)
def test_jitter_is_read_to_the_tenth_of_a_millimetre_or_refused(grid, amount_mm, axis, seed) -> None:
    rng = np.random.default_rng(seed)
    planes = planes_of(grid, TWELVE, rng)
    way = np.array(grid["axes"])[:, axis]
    step_mm = float(np.linalg.norm(grid["step"]))
    planes = [replace(p, first=tuple(np.array(p.first) + way * rng.uniform(-amount_mm, amount_mm))) for p in planes]
    with folder() as path:
        write(planes, path, PLAIN_WAY, TWELVE, rng)
        try:
            volume = read_volume(path)
        except UserError as refusal:
            assert amount_mm > 0.02 or step_mm < 0.2, refusal
            return
    assert misplaced(volume, planes, tolerance_mm=JITTER_MM) == ""
