"""A case of a manifest to what a network sees, as MONAI transforms.

Adds to MONAI: images and masks by the project's own readers (DICOM checked in millimetres, structures by name), and the turn to
slices that the clinic's predictor shares.
"""

from __future__ import annotations

from typing import Any

from monai.transforms import Compose, Transform

from ..errors import UserError
from ..io.paths import existing
from ..labels import LabelTable
from .hashing import sha256_of
from .load import load_image, load_label
from .manifest import Case, Manifest
from .slice_grid import Preprocessing, labels_to_slices, slice_grid, to_slices


def loading_transforms(manifest: Manifest, settings: Preprocessing) -> Compose:
    """From a `Case` to {"image": (slices, channels, rows, columns) float32, "label": uint8, "affine": 4x4}."""
    return Compose([LoadCase(manifest), CaseToSlices(settings, manifest.table)])


class LoadCase(Transform):  # type: ignore[misc]
    """Case → {"image": Volume, "label": Volume, "case": its name}.

    Raises: UserError as the readers do, and for a file whose hash is not the manifest's, by which the run names its data.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __call__(self, case: Case) -> dict[str, Any]:
        self._check_hashes(case.image, case.image_sha256)
        self._check_hashes(case.label, case.label_sha256)
        image = load_image(self.manifest, case)
        return {"image": image, "label": load_label(self.manifest, case, image), "case": case.case}

    def _check_hashes(self, paths: tuple[str, ...], digests: tuple[str, ...]) -> None:
        for path, digest in zip(paths, digests, strict=bool(digests)):  # a manifest without hashes promises nothing
            if sha256_of(existing(self.manifest.data_root / path)) != digest:
                what = "has changed since the manifest was made"
                raise UserError(what, where=path, next="'unet manifest' makes it again; 'unet check' lists all such files.")


class CaseToSlices(Transform):  # type: ignore[misc]
    """Volumes → slices; see `slice_grid.py`. Raises: UserError for NaN or infinite voxels, with the case's name."""

    def __init__(self, settings: Preprocessing, table: LabelTable) -> None:
        self.settings, self.table = settings, table

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        image, label = data["image"], data["label"]
        grid = slice_grid(image.shape, image.affine, self.settings)
        try:
            slices = to_slices(image, grid, self.settings)
        except UserError as error:
            raise UserError(error.what, where=data["case"], next="unet check finds all such cases.") from error
        return {"image": slices, "label": labels_to_slices(label.array, grid, self.table), "affine": grid.affine(image.affine)}
