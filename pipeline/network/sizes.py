"""The arithmetic of the original U-Net: sizes, parameters, FLOPs, receptive field. Needs nothing but integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError

Padding = Literal["valid", "same"]
DEFAULT_TILE = 700  # one tile for a 512 x 512 slice: cheaper than the four of 444 px that would cover it


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the network's table."""

    level: str  # "encoder 1", "bottleneck", "decoder 4"
    operation: str
    channels: int
    side: int  # pixels, after the operation
    parameters: int
    flops: int  # multiply-adds counted as two


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What decides the sizes of an `OriginalUNet`; the defaults are the paper's."""

    in_channels: int = 1
    out_channels: int = 2
    width: int = 64  # channels of the first level, doubled at each pooling
    depth: int = 4  # number of poolings
    padding: Padding = "valid"
    normalization: bool = False  # batch normalisation behind each 3x3 convolution

    @property
    def stride(self) -> int:
        """Pooling stride of the whole network: sizes and tile positions are multiples of it, plus a constant."""
        return int(2**self.depth)

    @property
    def smallest_side(self) -> int:
        """Smallest legal input side: 188 for the paper's network, 16 with padding (checked by running `steps`)."""
        if self.padding == "same":
            return self.stride
        return next(side for side in range(1, 10**6) if _output_side(self, side) is not None)

    @property
    def border(self) -> int:
        """Pixels lost on each side: 92 for the paper's network, 0 with padding."""
        if self.padding == "same":
            return 0
        side = self.smallest_side
        return (side - output_side(self, side)) // 2

    @property
    def parameters(self) -> int:
        return sum(step.parameters for step in steps(self, self.smallest_side))


def check_design(design: Design) -> None:
    """Raises: UserError for a design that no network can be built from."""
    limits = (("depth", 1, 6), ("width", 1, 512), ("in_channels", 1, 64), ("out_channels", 1, 256))
    for name, least, most in limits:
        value = getattr(design, name)
        if not least <= value <= most:
            raise UserError(f"{name} must be {least} to {most}, is {value}", where="network")


def output_side(design: Design, input_side: int) -> int:
    """Output side in pixels for an input side. Raises: UserError that names the nearest two legal sides."""
    side = _output_side(design, input_side)
    if side is None:
        below, above = nearest_sides(design, input_side)
        advice = f"The smallest that fits is {above}." if below is None else f"The nearest that fit are {below} and {above}."
        raise UserError(
            f"an input side of {input_side} px does not fit {design.depth} poolings with padding {design.padding}",
            next=advice,
        )
    return side


def nearest_sides(design: Design, input_side: int) -> tuple[int | None, int]:
    """Largest legal side at or below, and smallest legal side above; None where there is none below."""
    first, step = design.smallest_side, design.stride
    if input_side < first:
        return None, first
    below = first + (input_side - first) // step * step
    return below, below + step


def input_side_for(design: Design, output: int) -> int:
    """Smallest legal input side whose output covers `output` pixels."""
    first, step = design.smallest_side, design.stride
    smallest_output = output_side(design, first)
    return first + max(0, -(-(output - smallest_output) // step)) * step


def _output_side(design: Design, side: int) -> int | None:
    if design.padding == "same":
        return side if side > 0 and side % design.stride == 0 else None
    for _ in range(design.depth):
        side -= 4
        if side <= 0 or side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(design.depth):
        side = side * 2 - 4
    return side if side > 0 else None


def steps(design: Design, input_side: int) -> Iterator[Step]:
    """Every operation in the order of the paper's figure 1. Raises: UserError for a side that does not fit."""
    output_side(design, input_side)
    side, channels = input_side, design.in_channels
    lost = 2 if design.padding == "valid" else 0

    def convolution(level: str, into: int) -> Step:
        nonlocal side, channels
        side -= lost
        weights = 9 * channels * into
        extra = 2 * into if design.normalization else 0
        step = Step(
            level=level,
            operation="convolution 3x3 + ReLU",
            channels=into,
            side=side,
            parameters=weights + into + extra,
            flops=2 * weights * side * side,
        )
        channels = into
        return step

    for number in range(1, design.depth + 1):
        level, wide = f"encoder {number}", design.width * 2 ** (number - 1)
        yield convolution(level, wide)
        yield convolution(level, wide)
        side //= 2
        yield Step(level=level, operation="max pooling 2x2", channels=wide, side=side, parameters=0, flops=0)
    wide = design.width * 2**design.depth
    yield convolution("bottleneck", wide)
    yield convolution("bottleneck", wide)
    for number in range(design.depth, 0, -1):
        level, wide = f"decoder {number}", design.width * 2 ** (number - 1)
        side *= 2
        # each output pixel of a 2x2 up-convolution of stride 2 sees one input pixel, so one weight a channel pair
        flops = 2 * channels * wide * side * side
        yield Step(
            level=level,
            operation="up-convolution 2x2",
            channels=wide,
            side=side,
            parameters=4 * channels * wide + wide,
            flops=flops,
        )
        channels = 2 * wide
        yield Step(level=level, operation="copy and crop, joined", channels=channels, side=side, parameters=0, flops=0)
        yield convolution(level, wide)
        yield convolution(level, wide)
    out = design.out_channels
    yield Step(
        level="output",
        operation="convolution 1x1",
        channels=out,
        side=side,
        parameters=channels * out + out,
        flops=2 * channels * out * side * side,
    )


def flops(design: Design, input_side: int) -> int:
    """Forward pass over one square input, multiply-adds counted as two: 300.9 G for the paper's network at 572."""
    return sum(step.flops for step in steps(design, input_side))


def support(design: Design, pixel: int) -> tuple[int, int]:
    """First and last input pixel that output pixel `pixel` of a valid network can see, along one axis.

    In the input's own numbering; output pixel 0 lies over input pixel `border`. With padding, the same span counted from the
    pixel itself. 188 px for 4 of the 16 pooling phases of the paper's network, 204 px for the other 12.
    """
    # From the output back through the deepest path: the skips see less. Each pair of 3x3 convolutions widens by 2 on each
    # side, counted in the valid network's numbering, where output k of a convolution sees inputs k to k + 2.
    first, last = pixel, pixel
    for _ in range(design.depth):
        last += 4
        first, last = first // 2, last // 2
    last += 4
    for _ in range(design.depth):
        first, last = first * 2, last * 2 + 1
        last += 4
    return first, last


def reach(design: Design) -> int:
    """Largest distance in pixels from an output pixel to an input pixel that it can see, over all pooling phases."""
    border = Design(width=design.width, depth=design.depth).border
    spans = [(pixel, *support(design, pixel)) for pixel in range(design.stride)]
    return max(max(pixel + border - first, last - pixel - border) for pixel, first, last in spans)
