"""Slices made one by one are those of the whole volume at once, bit for bit, in every plane and normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing, slice_grid, to_slices, with_neighbours
from pipeline.data.slice_stream import SliceStream
from pipeline.errors import UserError
from pipeline.io.volume import Volume

NORMALISATIONS = (
    Normalisation(kind="none"),
    Normalisation(kind="window", low=-160, high=240),
    Normalisation(kind="foreground", low=-200, high=300, mean=40, deviation=55),
    Normalisation(kind="percentiles", low=0.5, high=99.5),
    Normalisation(kind="zscore"),
)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9)),
    channels=st.integers(1, 3),
    plane=st.sampled_from(["axial", "coronal", "sagittal", "stored"]),
    spacing_mm=st.sampled_from([0.0, 0.5, 1.7]),
    neighbours=st.integers(0, 3),
    normalisation=st.sampled_from(NORMALISATIONS),
    kind=st.sampled_from(["int16", "uint8", "float32", "float64"]),
    fortran=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_slice_is_that_of_the_whole_volume(
    shape, channels, plane, spacing_mm, neighbours, normalisation, kind, fortran, seed
):
    values = np.random.default_rng(seed).normal(80, 60, (*shape, channels)).clip(0, 255).astype(kind)
    array = np.asarray(values if channels > 1 else values[..., 0], order="F" if fortran else "C")
    volume = Volume(array=array, affine=np.diag([-1.0, 1.3, 2.0, 1.0]))
    wanted = Preprocessing(plane=plane, spacing_mm=spacing_mm, neighbours=neighbours, normalisation=normalisation)
    grid = slice_grid(volume.shape, volume.affine, wanted)
    whole, stream = to_slices(volume, grid, wanted), SliceStream(volume, grid, wanted)
    assert len(stream) == len(whole)
    for index in [*range(len(whole)), 0]:  # and back again
        np.testing.assert_array_equal(stream[index], with_neighbours(whole, index, neighbours))


def test_nan_is_refused_before_the_first_slice():
    array = np.zeros((4, 5, 3), dtype=np.float32)
    array[1, 2, 1] = np.nan
    volume = Volume(array=array, affine=np.eye(4))
    with pytest.raises(UserError, match="1 voxels are NaN"):
        SliceStream(volume, slice_grid(volume.shape, volume.affine, Preprocessing()), Preprocessing())
