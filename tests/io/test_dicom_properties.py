"""Any series, written with pydicom alone: every pixel at its millimetre with its value, or refused. Never silently wrong.

`UNET_EXAMPLES=5000 pytest tests/io/test_dicom_properties.py` tries more of them (`make test-long`).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_series import ROOT, classic, misplaced, save
from series_strategies import (
    EXACT_MM,
    PLAIN,
    PLAIN_WAY,
    SCALES,
    SEEDS,
    SERIES,
    TWELVE,
    folder,
    grids,
    pixel_forms,
    planes_of,
    scaled,
    tries,
    ways,
    write,
)

from pipeline.errors import UserError
from pipeline.io.read import read_volume

JITTER_MM = 0.1

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
