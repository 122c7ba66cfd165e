"""The bundle's own steps for MONAI: the same functions that `unet predict` calls, as dictionary transforms.

Copied into every bundle; the only file of this folder that imports MONAI.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..bundle.recipe import Recipe, recipe_from_json
from ..data.postprocess import postprocess
from ..data.slice_grid import SliceGrid, slice_grid, to_slices, with_neighbours
from ..errors import UserError
from ..io.dicom.scan import looks_like_dicom
from ..io.geometry import voxel_ml
from ..io.nifti import write_nifti
from ..io.paths import existing
from ..io.volume import Source, Volume
from .body import Box
from .segment import as_written, box_of, check_fits, empty_labels, labels_of_slice, on_source_pixels

ENDINGS = (".nii", ".nii.gz", ".png", ".tif", ".tiff", ".zip")


class ToSlicesd(MapTransform):  # type: ignore[misc]
    """(C, columns, rows, slices) as LoadImaged gives it → (C, rows, columns, slices) as the network sees it.

    Args:
        recipe: the bundle's, as plain types.
    """

    def __init__(self, keys: Hashable, recipe: Mapping[str, Any]) -> None:
        super().__init__(keys)
        self.recipe = recipe_from_json(recipe, where="inference.json")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            result[key] = self._slices(result[key])
        return result

    def _slices(self, image: MetaTensor) -> MetaTensor:
        array = np.moveaxis(np.asarray(image.as_tensor()), 0, -1)
        meta = image.meta
        source = Source(path=Path("input"), kind=meta["kind"], spacing_known=bool(meta["spacing_known"]))
        volume = Volume(
            array=array[..., 0] if array.shape[-1] == 1 else array,
            affine=np.asarray(image.affine),
            modality=str(meta["modality"]),
            source=source,
        )
        check_fits(volume, self.recipe)
        settings = self.recipe.preprocessing
        grid = slice_grid(volume.shape, volume.affine, settings)
        slices = to_slices(volume, grid, settings)
        joined = np.stack([with_neighbours(slices, i, settings.neighbours) for i in range(len(slices))], axis=-1)
        meta = {**meta, "volume_shape": np.array(volume.shape), "volume_affine": volume.affine}
        box = box_of(volume, grid, self.recipe)
        meta["box"] = np.array((box.slices, box.rows, box.columns))
        return MetaTensor(torch.from_numpy(np.ascontiguousarray(joined)), meta=meta)


class ToLabelsd(MapTransform):  # type: ignore[misc]
    """Scores (K, rows, columns, slices) → label values (columns, rows, slices) on the volume's own grid.

    Args:
        recipe: the bundle's, as plain types.
        image_key: where `ToSlicesd` left the volume's shape and affine, and where the body lies.
    """

    def __init__(self, keys: Hashable, recipe: Mapping[str, Any], image_key: Hashable = "image") -> None:
        super().__init__(keys)
        self.recipe = recipe_from_json(recipe, where="inference.json")
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        meta = result[self.image_key].meta
        affine = np.asarray(meta["volume_affine"], dtype=np.float64)
        columns, rows, slices = (int(n) for n in np.asarray(meta["volume_shape"]))
        grid = slice_grid((columns, rows, slices), affine, self.recipe.preprocessing)
        spans = [(int(first), int(last)) for first, last in np.asarray(meta["box"])]
        box = Box(slices=spans[0], rows=spans[1], columns=spans[2])
        for key in self.keys:
            labels = _labels(torch.as_tensor(result[key]), grid, box, self.recipe, affine)
            kept = {"short_name": meta["short_name"]}
            result[key] = MetaTensor(torch.from_numpy(labels), affine=torch.from_numpy(affine), meta=kept)
        return result


def _labels(scores: torch.Tensor, grid: SliceGrid, box: Box, recipe: Recipe, affine: np.ndarray) -> np.ndarray:
    labels = empty_labels(grid, recipe)
    turned = grid.turn(labels)
    for index in range(*box.slices):
        # contiguous, as the predictor has it: the decision must not depend on how the scores lie in memory
        on_source = on_source_pixels(scores[None, ..., index].contiguous(), grid)
        turned[(index, *box.in_plane)] = labels_of_slice(on_source[(..., *box.in_plane)], recipe)
    return np.ascontiguousarray(postprocess(labels, recipe.table, recipe.postprocessing, voxel_ml(affine)))


class WriteMaskd(MapTransform):  # type: ignore[misc]
    """Writes the labels as NIfTI on the volume's own grid: OUTPUT_DIR/NAME_seg.nii.gz, read back and compared in mm.

    NAME is the file's stem, or series number and last 8 digits of the series UID: a DICOM folder's name can be a patient's.

    Args:
        recipe: the bundle's, as plain types.
        output_dir: made where it is absent.
    """

    def __init__(self, keys: Hashable, recipe: Mapping[str, Any], output_dir: str) -> None:
        super().__init__(keys)
        self.table = recipe_from_json(recipe, where="inference.json").table
        self.output_dir = Path(output_dir)
        self.written: set[Path] = set()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for key in self.keys:
            labels = data[key]
            path = self.output_dir / f"{labels.meta['short_name']}_seg.nii.gz"
            if path in self.written:
                raise UserError("would overwrite the mask of another input", where=path, next="Segment it into another folder.")
            volume = Volume(array=np.asarray(labels.as_tensor()), affine=np.asarray(labels.affine))
            write_nifti(as_written(volume, self.table), path)
            self.written.add(path)
        return dict(data)


def items(dataset_dir: str) -> list[dict[str, str]]:
    """What lies in a folder, as MONAI's datalist: each NIfTI, picture, zip and each DICOM folder; or the folder itself.

    Raises: UserError where there is nothing (MONAI would end with exit code 0 and no mask), or loose DICOM files beside others.
    """
    folder = existing(dataset_dir)
    if folder.is_file():
        return [{"image": str(folder)}]
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in entries if path.is_dir() or path.name.lower().endswith(ENDINGS)]
    loose = [path for path in entries if path not in found]
    if not found and loose:
        found, loose = [folder], []  # the files of one DICOM series
    if not found:
        raise UserError("there is nothing to segment", where=folder)
    if any(path.is_file() and looks_like_dicom(path) for path in loose):
        raise UserError(
            "holds loose DICOM files beside other inputs", where=folder, next="Put each series into its own folder."
        )
    return [{"image": str(path)} for path in found]
