"""Tiles that fit into a given memory: the arithmetic, and that the mask does not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import make_bundle

from pipeline.errors import UserError
from pipeline.inference.predictor import Predictor
from pipeline.inference.tile_memory import LIBRARIES, ROOM, fitting_tile, tile_bytes
from pipeline.io.volume import Volume
from pipeline.network.sizes import Design
from pipeline.process import resident_bytes


def scan(side: int) -> Volume:
    array = np.random.default_rng(0).normal(50, 150, (side, side - 40, 2)).astype(np.int16)
    return Volume(array=array, affine=np.diag([-1.0, -1.0, 3.0, 1.0]))


def test_the_worst_moment_of_the_paper_s_network_is_where_the_last_skip_is_joined() -> None:
    """Figure 1: a skip of 64 x 568 x 568 waits while 64 x 392 x 392 become 128 x 392 x 392."""
    numbers = 64 * 568**2 + 64 * 392**2 + 128 * 392**2
    assert tile_bytes(Design(), 572, "fp32") == round(4 * ROOM * numbers)
    assert tile_bytes(Design(), 572, "bf16") == round(2 * ROOM * numbers)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_with_less_memory_tiles_are_smaller_and_the_mask_is_the_same(padding: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, network={"padding": padding, "width": 16, "depth": 2})
    volume, design = scan(512), Predictor(bundle)._computing.design
    whole = Predictor(bundle).predict(volume).labels.array
    room = round(0.4 * tile_bytes(design, 512 if padding == "same" else 552, "fp32"))
    limit = resident_bytes() + LIBRARIES + 2 * volume.array.size + room
    tile = fitting_tile(design, "fp32", volume, bundle.recipe, most_bytes=limit, tile=700, maps=0)
    assert 100 < tile < 450
    np.testing.assert_array_equal(Predictor(bundle, max_ram_bytes=limit).predict(volume).labels.array, whole)
    plenty = fitting_tile(design, "fp32", volume, bundle.recipe, most_bytes=10**12, tile=700, maps=0)
    assert plenty == (512 if padding == "same" else 552)  # the slice in one tile, and no larger
    assert fitting_tile(design, "fp32", volume, bundle.recipe, most_bytes=10**12, tile=300, maps=0) <= 300


def test_what_cannot_fit_is_refused_before_anything_is_computed_with_what_it_needs(tmp_path: Path) -> None:
    predictor = Predictor(make_bundle(tmp_path), max_ram_bytes=10**8)
    with pytest.raises(UserError, match=r"needs \d\.\d GB even with the smallest tiles, more than 0\.1 GB\. Give --max-ram"):
        predictor.predict(scan(100))


def test_probabilities_count(tmp_path: Path) -> None:
    bundle, volume = make_bundle(tmp_path), scan(400)
    design, limit = Predictor(bundle)._computing.design, resident_bytes() + LIBRARIES + 40_000_000

    def tile(maps: int) -> int:
        return fitting_tile(design, "fp32", volume, bundle.recipe, most_bytes=limit, tile=700, maps=maps)

    assert tile(0) >= tile(4)
    with pytest.raises(UserError, match="even with the smallest tiles"):
        tile(20)
