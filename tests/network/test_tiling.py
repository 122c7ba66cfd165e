"""Tiled output equals the whole image's, whatever the tile and the image size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.network.sizes import Design, input_side_for, output_side
from pipeline.network.tiling import WholeSlice, mirror
from pipeline.network.unet import OriginalUNet


def small_network(padding: str, **options: object) -> OriginalUNet:
    torch.manual_seed(1)
    return OriginalUNet(2, 3, width=3, padding=padding, **options).double().eval()


def random_image(height: int, width: int) -> torch.Tensor:
    """In double precision: the cutting is under test, not the rounding of one convolution kernel against another."""
    return torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(height), dtype=torch.float64)


def whole_by_numpy(network: OriginalUNet, image: torch.Tensor) -> torch.Tensor:
    """The definition: numpy mirrors the image far enough, the network runs once, the surplus is cut."""
    design, (height, width) = network.design, image.shape[-2:]
    sides = [input_side_for(design, side) for side in (height, width)]
    before = design.border
    after = [side - before - length for side, length in zip(sides, (height, width), strict=True)]
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (before, after[0]), (before, after[1])), mode="reflect")
    return network(torch.from_numpy(padded))[..., :height, :width]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(20, 20), (21, 37), (128, 128), (161, 203), (333, 90)])
@torch.inference_mode()
def test_whole_slice_is_mirror_then_network(padding, size):
    network = small_network(padding)
    image = random_image(*size)
    expected = whole_by_numpy(network, image)
    torch.testing.assert_close(WholeSlice(network, tile=2000)(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["valid", "same"])
@torch.inference_mode()
def test_every_legal_tile_gives_the_whole_images_output(padding):
    network = small_network(padding)
    image = random_image(301, 245)
    expected = whole_by_numpy(network, image)
    first = 188 if padding == "valid" else 240
    for tile in range(first, 500, 16):
        torch.testing.assert_close(WholeSlice(network, tile=tile)(image), expected, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(20, 260),
    width=st.integers(20, 260),
    tile=st.integers(188, 420),
    padding=st.sampled_from(["valid", "same"]),
)
@torch.inference_mode()
def test_tiled_equals_whole_for_any_image_and_tile(height, width, tile, padding):
    network = small_network(padding)
    tile = max(tile, 240) if padding == "same" else tile
    image = random_image(height, width)
    torch.testing.assert_close(WholeSlice(network, tile=tile)(image), whole_by_numpy(network, image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["valid", "same"])
@torch.inference_mode()
def test_in_single_precision_tiles_differ_by_rounding_alone(padding):
    network, image = small_network(padding).float(), random_image(301, 245).float()
    whole = WholeSlice(network, tile=2000)(image)
    difference = (WholeSlice(network, tile=252)(image) - whole).abs().max()
    assert difference <= 1e-5 * whole.abs().max()


@torch.inference_mode()
def test_tiles_never_exceed_the_size_asked_for():
    network, seen = small_network("valid"), []
    network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2:]))
    WholeSlice(network, tile=252)(random_image(400, 130))
    assert len(seen) > 1
    assert max(side for shape in seen for side in shape) <= 252


@torch.inference_mode()
def test_a_shift_by_the_stride_shifts_the_answer():
    """Pooling phase is kept: the interior of an image moved by 16 px gets the same scores, moved by 16 px."""
    network = small_network("valid")
    image = random_image(320, 320)
    whole = WholeSlice(network)(image)
    moved = WholeSlice(network)(image[..., 16:, 16:])
    torch.testing.assert_close(moved[..., 112:180, 112:180], whole[..., 128:196, 128:196], atol=1e-5, rtol=0)


def test_mirror_is_numpys_reflect_with_many_reflections():
    image = torch.arange(15.0).reshape(1, 1, 3, 5)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (7, 9), (11, 2)), mode="reflect")
    assert np.array_equal(mirror(image, (7, 9), (11, 2)).numpy(), expected)


def test_a_row_of_one_pixel_is_mirrored_by_repeating_it():
    assert mirror(torch.full((1, 1, 1, 4), 3.0), (2, 2), (0, 0)).shape == (1, 1, 5, 4)


def test_a_tile_below_the_smallest_is_refused():
    with pytest.raises(UserError, match="Smallest: 188"):
        WholeSlice(small_network("valid"), tile=187)


@torch.inference_mode()
def test_rescaled_network_runs_whole_images_of_any_size():
    assert WholeSlice(small_network("valid", output="rescale"))(random_image(211, 190)).shape == (1, 3, 211, 190)


def test_input_side_for_is_the_smallest_that_covers():
    design = Design()
    for pixels in (1, 4, 5, 20, 388, 389, 512):
        side = input_side_for(design, pixels)
        assert output_side(design, side) >= pixels
        assert side == 188 or output_side(design, side - 16) < pixels


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    tile=st.sampled_from([60, 80, 124, 400]),
    padding=st.sampled_from(["valid", "same"]),
    ends=st.tuples(*[st.floats(0, 1)] * 4),
)
@torch.inference_mode()
def test_a_window_has_the_whole_images_scores(height, width, tile, padding, ends):
    network = small_network(padding, depth=2)
    image = random_image(height, width)
    rows, columns = (
        (min(int(a * side), side - 1), min(int(a * side), side - 1) + 1 + int(b * (side - 1 - min(int(a * side), side - 1))))
        for side, a, b in ((height, *ends[:2]), (width, *ends[2:]))
    )
    whole = whole_by_numpy(network, image)[..., slice(*rows), slice(*columns)]
    torch.testing.assert_close(WholeSlice(network, tile=tile)(image, (rows, columns)), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["valid", "same"])
@torch.inference_mode()
def test_a_window_costs_its_own_pixels_and_their_context(padding):
    seen = []

    class Counting(OriginalUNet):
        def forward(self, image):
            seen.append(tuple(image.shape[-2:]))
            return super().forward(image)

    network = Counting(2, 3, width=3, depth=2, padding=padding).eval()
    WholeSlice(network, tile=400)(torch.zeros(1, 2, 300, 300), ((100, 140), (20, 90)))
    context = 2 * WholeSlice(network).context
    ((rows, columns),) = seen
    assert 40 + context <= rows <= 40 + context + 12
    assert (90 + context // 2 if padding == "same" else 70 + context) <= columns <= 70 + context + 12
