"""The largest tile with which a prediction stays within a given memory: the mask is the same with any."""

from __future__ import annotations

from collections.abc import Iterator

from ..bundle.recipe import Recipe
from ..data.slice_grid import slice_grid
from ..errors import UserError
from ..io.volume import Volume
from ..network.precision import Precision
from ..network.sizes import Design, input_side_for, nearest_sides, steps
from ..network.tiling import smallest_tile
from ..process import resident_bytes

SMALLEST_OUTPUT = 64  # px of a tile of a network that loses its border: with less, almost all is border
BYTES_PER_NUMBER: dict[Precision, int] = {"fp32": 4, "bf16": 2, "int8": 2}
ROOM = 1.6  # what a tile really takes, of what its tensors need: torch takes 1.3 to 1.6, OpenVINO 1.0
LIBRARIES = 300_000_000  # that are loaded to write and to draw; seen on Linux
BYTES_PER_VOXEL = 2  # the label, and as much again while the mask is read back
BYTES_PER_MAP = 14  # of a probability: as float16, as float32 to be written, and read back as such


def fitting_tile(
    design: Design, precision: Precision, volume: Volume, recipe: Recipe, *, most_bytes: int, tile: int, maps: int
) -> int:
    """The largest input side of a tile up to `tile` for which the whole prediction fits.

    Args:
        volume: that was read, so that its memory is taken already, as is the network's.
        most_bytes: of the whole process.
        maps: probabilities and uncertainties of a voxel that are kept.
    Raises: UserError where nothing fits, with what is needed at least.
    """
    grid = slice_grid(volume.shape, volume.affine, recipe.preprocessing)
    voxels = grid.slices * grid.source_rows * grid.source_columns
    labels = len(recipe.table.structures) if recipe.table.overlapping else 1
    taken = resident_bytes() + LIBRARIES + voxels * (labels * BYTES_PER_VOXEL + maps * BYTES_PER_MAP)
    weights = design.parameters * BYTES_PER_NUMBER[precision]  # once more, as the runtime likes them for a size of tile
    for side in _sides(design, min(tile, input_side_for(design, max(grid.rows, grid.columns)))):
        needed = taken + weights + tile_bytes(design, side, precision)
        if needed <= most_bytes:
            return max(side, smallest_tile(design))  # a smaller image is one tile all the same
    gigabytes = -(-needed // 10**8) / 10
    what = f"needs {gigabytes:.1f} GB even with the smallest tiles, more than {most_bytes / 1e9:g} GB"
    next_step = f"Give --max-ram {gigabytes:.1f}G where the machine has it."
    raise UserError(what, where=volume.source.short_name, next=next_step)


def tile_bytes(design: Design, side: int, precision: Precision) -> int:
    """What computing a square tile takes at its worst moment: what goes in and comes out there, and the skips that wait."""
    waiting: list[int] = []
    before, most = design.in_channels * side * side, 0
    for step in steps(design, side):
        after = step.channels * step.side**2
        if step.operation.startswith("max pooling"):
            waiting.append(before)
        most = max(most, sum(waiting) + before + after)
        if step.operation.startswith("copy and crop"):
            waiting.pop()
        before = after
    return round(most * BYTES_PER_NUMBER[precision] * ROOM)


def _sides(design: Design, tile: int) -> Iterator[int]:
    """Legal sides from the largest to the smallest that makes sense; at least one."""
    least = input_side_for(design, SMALLEST_OUTPUT) if design.padding == "valid" else smallest_tile(design)
    largest, _ = nearest_sides(design, max(tile, design.smallest_side))
    assert largest is not None  # the smallest is one
    yield from range(largest, min(least, largest) - 1, -design.stride)
