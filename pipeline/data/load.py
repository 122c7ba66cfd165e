"""The image and the mask of one case of a manifest as volumes. Knows nothing of slices or training."""

from __future__ import annotations

from dataclasses import replace

from ..io.combine import as_channels
from ..io.read import read_label_volume, read_volume
from ..io.volume import Volume
from .manifest import Case, Manifest


def load_image(manifest: Manifest, case: Case) -> Volume:
    """The image of a case, CT in Hounsfield units.

    Returns: (columns, rows, slices), or with several files (columns, rows, slices, channels) in the manifest's order. The
        modality is the manifest's where the file does not say.
    Raises: UserError where a file is missing or unreadable, or the channels lie on different grids (with the distance in mm).
    """
    volumes = [
        read_volume(manifest.data_root / path, series=case.series, volume=case.volume, pixel_size_mm=case.pixel_size_mm)
        for path in case.image
    ]
    image = as_channels(volumes)
    return image if image.modality else replace(image, modality=case.modality)


def load_label(manifest: Manifest, case: Case, like: Volume) -> Volume:
    """The mask of a case on the grid of its image.

    Args:
        like: the image, from `load_image`.
    Returns: (columns, rows, slices) with the label table's values; overlapping: (columns, rows, slices, structures), 0 or 1.
    Raises: UserError as `read_label_volume` does.
    """
    paths = [manifest.data_root / path for path in case.label]
    structures = manifest.structures or None
    return read_label_volume(paths if len(paths) > 1 else paths[0], like=like, table=manifest.table, structures=structures)
