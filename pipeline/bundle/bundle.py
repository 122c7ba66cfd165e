"""Open a bundle as data: metadata, recipe, weights with their hash. Never runs what lies in it, needs no MONAI."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..io.paths import existing
from .recipe import Recipe, recipe_from_json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # of the "unet" part of metadata.json; a change that older versions cannot read raises it
WEIGHTS = Path("models") / "model.safetensors"
METADATA = Path("configs") / "metadata.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An opened, checked bundle."""

    path: Path
    name: str
    version: str
    network: str  # a name of the catalogue
    network_settings: dict[str, Any]
    recipe: Recipe
    weights_sha256: str
    digest: str  # sha256 over metadata and weights: two bundles with one digest give one mask

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors. Raises: UserError where the file was changed since the bundle was built."""
        from safetensors.torch import load

        path = self.path / WEIGHTS
        data = existing(path).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.weights_sha256:
            raise UserError(
                f"the weights were changed since the bundle was built (sha256 {found[:12]}…, not {self.weights_sha256[:12]}…)",
                where=path,
                next="Copy the bundle again.",
            )
        tensors: dict[str, Tensor] = load(data)
        return tensors


def open_bundle(path: Path | str) -> Bundle:
    """Read and judge a bundle folder. Raises: UserError that names the file and the key."""
    path = existing(path)
    file = path / METADATA
    if not file.is_file():
        raise UserError(f"is not a bundle: there is no {METADATA}", where=path, next="'unet bundle build' makes one.")
    text = file.read_bytes()
    try:
        metadata = json.loads(text)
        part = metadata["unet"]
        if part["format"] > FORMAT:
            raise UserError(f"the bundle's format {part['format']} is newer than this version reads ({FORMAT})", where=file)
        return Bundle(
            path=path,
            name=str(metadata["name"]),
            version=str(metadata["version"]),
            network=str(part["network"]["name"]),
            network_settings=dict(part["network"]["settings"]),
            recipe=recipe_from_json(part["recipe"], where=str(file)),
            weights_sha256=str(part["weights_sha256"]),
            digest=hashlib.sha256(text).hexdigest(),  # it holds the weights' hash
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"cannot be read: {error!r}", where=file, next="Build the bundle again.") from error
