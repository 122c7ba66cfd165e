"""Series of several volumes and multi-frame objects, written with pydicom alone: each volume right, none taken unasked."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle_series import ROOT, Plane, classic, enhanced, misplaced, save
from series_strategies import (
    EXACT_MM,
    PLAIN_WAY,
    SCALES,
    SEEDS,
    SERIES,
    TWELVE,
    file_names,
    folder,
    grids,
    pixel_forms,
    planes_of,
    scaled,
    tries,
    write,
)

from pipeline.errors import UserError
from pipeline.io.read import read_volume

SIEMENS, GE, PHILIPS = (0x0019, "SIEMENS MR HEADER"), (0x0043, "GEMS_PARM_01"), (0x2001, "Philips Imaging DD 001")
TIME_POINTER, POSITION_POINTER = 0x00209128, 0x00209057  # Temporal Position Index, In-Stack Position Number


def every_volume_is_right(path: Path, volumes: list[list[Plane]]) -> None:
    """Not one is taken unasked; each that the list names is one of the volumes that were written, and all are there."""
    with pytest.raises(UserError) as question:
        read_volume(path)
    assert f"there are {len(volumes)} volumes" in str(question.value)
    names = re.findall(r'\| \d+: series .*?volume "([^"]+)"', str(question.value))
    assert len(set(names)) == len(volumes), names
    left = list(volumes)
    for name in names:
        volume = read_volume(path, volume=name)
        fits = [planes for planes in left if misplaced(volume, planes, tolerance_mm=EXACT_MM) == ""]
        assert len(fits) == 1, f"{name}: {[misplaced(volume, planes, tolerance_mm=EXACT_MM) for planes in left]}"
        left = [planes for planes in left if planes is not fits[0]]


# what tells volume n of its neighbours: attributes of volume n, slice k of `count`
TOLD = {
    "EchoNumbers": lambda n, k, count: {"EchoNumbers": n + 1},
    "EchoTime": lambda n, k, count: {"EchoTime": 4.6 + 2.3 * n},
    "DiffusionBValue": lambda n, k, count: {"DiffusionBValue": 500.0 * n},
    "InversionTime": lambda n, k, count: {"InversionTime": 800 + 1000 * n},
    "FlipAngle": lambda n, k, count: {"FlipAngle": 5 + 10 * n},
    "TemporalPositionIdentifier": lambda n, k, count: {"TemporalPositionIdentifier": n + 1},
    "TriggerTime": lambda n, k, count: {"TriggerTime": 40.0 * n + 3 * (k % 2)},
    "AcquisitionNumber": lambda n, k, count: {"AcquisitionNumber": n + 1},
    "AcquisitionTime": lambda n, k, count: {"AcquisitionTime": f"1015{n:02d}.{k:06d}"},
    "volume by volume": lambda n, k, count: {"InstanceNumber": n * count + k + 1},
    "slice by slice": lambda n, k, count: {"InstanceNumber": 10 * k + n + 1},
    "ImageType": lambda n, k, count: {"ImageType": ["ORIGINAL", "PRIMARY", "MPRI"[n]]},
    "image type of one maker": lambda n, k, count: {"ImageType": ["DERIVED", "PRIMARY", ["W", "IP", "OP", "F"][n], "DIXON"]},
}
PRIVATE = {
    "Siemens b": lambda n: (SIEMENS, 0x0C, "IS", 500 * n),
    "GE b": lambda n: (GE, 0x39, "IS", [1_000_000_000 + 500 * n, 8, 0, 0]),
    "Philips b": lambda n: (PHILIPS, 0x03, "FL", 500.0 * n),
}


@tries(0.1)
@given(
    grid=grids(least=2, most=5),
    count=st.integers(2, 4),
    told=st.sampled_from([*TOLD, *PRIVATE]),
    pixels=pixel_forms(),
    seed=SEEDS,
)
def test_volumes_of_one_series_are_listed_and_each_is_right(grid, count, told, pixels, seed) -> None:
    rng = np.random.default_rng(seed)
    volumes = [scaled(planes_of(grid, pixels, rng), "none", rng) for _ in range(count)]
    number = 0
    with folder() as path:
        for n, planes in enumerate(volumes):
            for k, plane in enumerate(planes):
                number += 1
                more = TOLD[told](n, k, len(planes)) if told in TOLD else {}
                dataset = classic(
                    plane, number=1, uid=f"{SERIES}.{number}", series=SERIES, modality="MR", pixels=pixels, **more
                )
                if told in PRIVATE:
                    (group, creator), element, vr, value = PRIVATE[told](n)
                    dataset.private_block(group, creator, create=True).add_new(element, vr, value)
                save(dataset, path / f"{rng.integers(2**40)}")
        every_volume_is_right(path, volumes)


@tries(0.03)
@given(grid=grids(least=3, most=5), seed=SEEDS)
def test_numbers_that_count_nothing_tell_no_volumes_apart(grid, seed) -> None:
    rng = np.random.default_rng(seed)
    volumes = [planes_of(grid, TWELVE, rng) for _ in range(2)]
    # at the first place volume 0 comes first, at the second volume 1, and neither order runs on
    numbers = np.array([[1, 9, 6, 3, 7][: len(volumes[0])], [4, 2, 8, 10, 5][: len(volumes[0])]])
    with folder() as path:
        for n, planes in enumerate(volumes):
            for k, plane in enumerate(planes):
                uid = f"{SERIES}.{10 * n + k}"
                dataset = classic(plane, number=int(numbers[n, k]), uid=uid, series=SERIES, modality="MR", pixels=TWELVE)
                save(dataset, path / f"{n}{k}")
        with pytest.raises(UserError, match="claim the same position with different pixels"):
            read_volume(path)


@tries(0.05)
@given(first=grids(least=2), second=grids(least=2), together=st.booleans(), seed=SEEDS)
def test_stacks_that_lie_differently_are_two_volumes(first, second, together, seed) -> None:
    assume(np.abs(np.array(first["axes"]) - second["axes"])[:, :2].max() > 0.01)
    rng = np.random.default_rng(seed)
    volumes = [planes_of(grid, TWELVE, rng) for grid in (first, second)]
    with folder() as path:
        for n, planes in enumerate(volumes):
            write(
                planes, path / str(n), {**PLAIN_WAY, "names": "folders"}, TWELVE, rng, SERIES if together else f"{SERIES}.{n}"
            )
        if together:
            every_volume_is_right(path, volumes)
            return
        with pytest.raises(UserError, match="there are 2 volumes in 2 series"):
            read_volume(path)
        for n, planes in enumerate(volumes):
            assert misplaced(read_volume(path, series=f"{SERIES}.{n}"), planes, tolerance_mm=EXACT_MM) == ""


# --- multi-frame objects ---

SHARED = st.sets(st.sampled_from(["orientation", "measures", "scale"])).map(frozenset)


def write_frames(
    planes: list[Plane], path: Path, *, files: int, rng: np.random.Generator, shared: frozenset[str], uid: str = SERIES, **more
) -> None:
    """Frames in any order over some files."""
    one_scale = len({(plane.slope, plane.intercept) for plane in planes}) == 1
    shared = shared if one_scale else shared - {"scale"}
    order = rng.permutation(len(planes))
    parts = [part for part in np.array_split(order, files) if len(part)]
    for k, (part, name) in enumerate(zip(parts, file_names("no ending", len(parts), rng), strict=True)):
        dataset = enhanced([planes[int(p)] for p in part], uid=f"{uid}.{k}", series=SERIES, shared=shared, seed=k, **more)
        save(dataset, path / name)


@tries(0.15)
@given(
    grid=grids(),
    pixels=pixel_forms(),
    modality=st.sampled_from(["CT", "MR", "PT"]),
    shared=SHARED,
    files=st.sampled_from([1, 1, 2, 3, 99]),
    legacy=st.booleans(),
    scale=SCALES,
    again=st.booleans(),
    seed=SEEDS,
)
def test_frames_in_any_order_over_any_files_are_one_volume(
    grid, pixels, modality, shared, files, legacy, scale, again, seed
) -> None:
    rng = np.random.default_rng(seed)
    planes = scaled(planes_of(grid, pixels, rng), scale, rng)
    with folder() as path:
        how = {"rng": rng, "shared": shared, "modality": modality, "pixels": pixels, "legacy": legacy}
        write_frames(planes, path, files=files, **how)
        if again:  # in other portions, under new UIDs
            write_frames(planes, path / "again", files=1, uid=f"{SERIES}.7", **how)
        volume = read_volume(path)
    assert any(notice.code == "slices-duplicated" for notice in volume.source.notices) == again
    assert misplaced(volume, planes, tolerance_mm=EXACT_MM) == ""


FRAMES_TOLD = {
    "StackID": lambda n, k: {"StackID": f"S{n}"},
    "TemporalPositionIndex": lambda n, k: {"TemporalPositionIndex": n + 1},
    "EffectiveEchoTime": lambda n, k: {"EffectiveEchoTime": 4.6 + 2.3 * n},
    "DiffusionBValue": lambda n, k: {"DiffusionBValue": 500.0 * n},
    "FrameType": lambda n, k: {"FrameType": ["ORIGINAL", "PRIMARY", "MPR"[n], "NONE"]},
    "NominalCardiacTriggerDelayTime": lambda n, k: {"NominalCardiacTriggerDelayTime": 40.0 * n},
    "DimensionIndexValues": lambda n, k: {"DimensionIndexValues": [k + 1, n + 1]},
    "FlipAngle": lambda n, k: {"FlipAngle": 3.0 + 12 * n},
    "KVP": lambda n, k: {"KVP": 80 + 60 * n},
    "NominalPercentageOfCardiacPhase": lambda n, k: {"NominalPercentageOfCardiacPhase": 25.0 * n},
    "EchoTime": lambda n, k: {"EchoTime": 10 + 80 * n},
    "InstanceNumber": lambda n, k: {"InstanceNumber": 1 + k + 100 * n},
}


@tries(0.08)
@given(
    grid=grids(least=2, most=5),
    count=st.integers(2, 3),
    told=st.sampled_from(sorted(FRAMES_TOLD)),
    files=st.sampled_from([1, 2, 4]),
    shared=SHARED,
    scale=SCALES,
    seed=SEEDS,
)
def test_volumes_of_one_multi_frame_object_are_listed_and_each_is_right(grid, count, told, files, shared, scale, seed) -> None:
    rng = np.random.default_rng(seed)
    volumes = [
        [replace(p, told=FRAMES_TOLD[told](n, k)) for k, p in enumerate(scaled(planes_of(grid, TWELVE, rng), scale, rng))]
        for n in range(count)
    ]
    pointers = (POSITION_POINTER, TIME_POINTER) if told == "DimensionIndexValues" else ()
    with folder() as path:
        everything = [plane for planes in volumes for plane in planes]
        write_frames(everything, path, files=files, rng=rng, shared=shared, modality="MR", pixels=TWELVE, pointers=pointers)
        every_volume_is_right(path, volumes)


@tries(0.04)
@given(grid=grids(least=4), files=st.sampled_from([1, 3]), data=st.data(), seed=SEEDS)
def test_a_lost_frame_is_refused(grid, files, data, seed) -> None:
    rng = np.random.default_rng(seed)
    planes = planes_of(grid, TWELVE, rng)
    del planes[data.draw(st.integers(1, len(planes) - 2), label="lost")]
    with folder() as path:
        write_frames(planes, path, files=files, rng=rng, shared=frozenset(), modality="CT", pixels=TWELVE)
        with pytest.raises(UserError, match=r"slices are missing|irregular|from its position"):
            read_volume(path)


@tries(0.03)
@given(grid=grids(least=2, most=4), seed=SEEDS)
def test_two_scans_half_a_slice_apart_are_two_volumes(grid, seed) -> None:
    """Images of both lie evenly between each other: without a look at the echo they would make one wrong volume."""
    rng = np.random.default_rng(seed)
    first = planes_of(grid, TWELVE, rng)
    half = np.array(grid["step"]) / 2
    second = [replace(p, first=tuple(np.array(p.first) + half)) for p in planes_of(grid, TWELVE, rng)]
    with folder() as path:
        for n, planes in enumerate((first, second)):
            for k, plane in enumerate(planes):
                uid = f"{ROOT}7.{n}.{k}"
                dataset = classic(
                    plane, number=k + 1, uid=uid, series=SERIES, modality="MR", pixels=TWELVE, EchoTime=10 + 80 * n
                )
                save(dataset, path / f"{n}{k}")
        every_volume_is_right(path, [first, second])
