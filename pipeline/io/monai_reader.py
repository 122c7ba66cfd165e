"""MONAI's LoadImage with our reader: adds to MONAI's own that geometry is judged and a refusal stays a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader

from .combine import as_channels
from .read import read_volume


class VolumeReader(ImageReader):  # type: ignore[misc]
    """`LoadImaged(keys="image", reader=VolumeReader(), ensure_channel_first=True)` for DICOM folders, NIfTI and pictures.

    Several paths for one item are stacked as channels; they must share one grid.

    Args:
        series, volume, pixel_size_mm, accept_irregular: as in `read_volume`.
    """

    def __init__(
        self, *, series: str = "", volume: str = "", pixel_size_mm: float | None = None, accept_irregular: bool = False
    ) -> None:
        super().__init__()
        self._read = partial(
            read_volume, series=series, volume=volume, pixel_size_mm=pixel_size_mm, accept_irregular=accept_irregular
        )

    def verify_suffix(self, filename: Sequence[str | Path] | str | Path) -> bool:
        """Always: the kind of a file is decided by its content."""
        return True

    def read(self, data: Sequence[str | Path] | str | Path, **kwargs: Any) -> tuple[Path, ...]:
        """The paths only. Reading waits for `get_data`: LoadImage answers an error raised here by trying other readers."""
        return (Path(data),) if isinstance(data, str | Path) else tuple(Path(d) for d in data)

    def get_data(self, img: tuple[Path, ...]) -> tuple[np.ndarray, dict[str, Any]]:
        """Array (columns, rows, slices[, channels]) and MONAI's metadata. Raises: UserError as `read_volume` does."""
        volumes = [self._read(path) for path in img]
        first = as_channels(volumes)
        channels_last = first.array.ndim == 4
        return first.array, {
            "affine": first.affine.copy(),
            "original_affine": first.affine.copy(),
            "spatial_shape": np.array(first.shape),
            "space": "RAS",
            "original_channel_dim": -1 if channels_last else float("nan"),
            "modality": first.modality,
            "kind": first.source.kind,
            "short_name": first.source.short_name,  # for file names: nothing of the patient
            "spacing_known": first.source.spacing_known,
            "notices": [str(notice) for volume in volumes for notice in volume.source.notices],
        }
