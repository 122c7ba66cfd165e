"""Open a bundle as data: metadata, recipe, weights, each with its hash. Never runs what lies in it, needs no MONAI."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..io.paths import existing
from .recipe import Recipe, recipe_from_json

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.decide import Head
    from ..network.ensemble import Ensemble
    from ..network.ranges import Ranges
    from ..network.unet import OriginalUNet

FORMAT = 2  # the newest "unet" part of metadata.json that is read; what older versions would read wrongly raises it
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
    members: int = 1  # so many of these networks answer together
    recipe: Recipe
    weights_sha256: str
    ranges: tuple[Ranges, ...] = ()  # of each network, where it may be computed in eight bits
    volumes_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of the training cases: smallest, largest
    digest: str  # sha256 over network, recipe and weights: two bundles with one digest give one mask

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors. Raises: UserError where the file is absent or was changed since the bundle was built."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path / WEIGHTS
        if not path.is_file():
            raise UserError("the bundle's weights are missing", where=path, next="Copy the bundle again.")
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.weights_sha256:
            raise UserError(
                f"the weights were changed since the bundle was built (sha256 {found[:12]}…, not {self.weights_sha256[:12]}…)",
                where=path,
                next="Copy the bundle again.",
            )
        try:
            tensors: dict[str, Tensor] = load(data)
        except SafetensorError as error:
            raise UserError(f"the weights cannot be read ({error})", where=path, next="Build the bundle again.") from error
        return tensors

    def load_network(self) -> OriginalUNet | Ensemble:
        """The network with its weights, in evaluation mode. Raises: UserError where they do not belong together."""
        return network_with(
            self.network,
            self.network_settings,
            self.weights(),
            where=self.path,
            members=self.members,
            head=self.recipe.head,
        )


def open_bundle(path: Path | str) -> Bundle:
    """Read and judge a bundle folder. Raises: UserError that names the file and the key."""
    path = existing(path)
    file = path / METADATA
    if not file.is_file():
        raise UserError(f"is not a bundle: there is no {METADATA}", where=path, next="'unet bundle build' makes one.")
    try:
        metadata = json.loads(file.read_bytes())
        if "unet" not in metadata:
            raise UserError("is a MONAI bundle of another tool", where=path, next="'python -m monai.bundle run' executes it.")
        part = metadata["unet"]
        if int(part["format"]) > FORMAT:
            what = f"the bundle's format {part['format']} is newer than this version reads ({FORMAT})"
            raise UserError(what, where=file, next="Install a newer unet.")
        digest = contents_sha256(part)
        if digest != part["sha256"]:
            what = (
                f"the metadata were changed since the bundle was built (sha256 {digest[:12]}…, not {str(part['sha256'])[:12]}…)"
            )
            raise UserError(what, where=file, next="Copy the bundle again, or build it anew from the run.")
        members = int(part["network"].get("members", 1))
        return Bundle(
            path=path,
            name=str(metadata["name"]),
            version=str(metadata["version"]),
            network=str(part["network"]["name"]),
            network_settings=dict(part["network"]["settings"]),
            members=members,
            recipe=recipe_from_json(part["recipe"], where=str(file)),
            weights_sha256=str(part["weights_sha256"]),
            ranges=_ranges(part["int8"]["ranges"], members) if "int8" in part else (),
            volumes_ml=_pairs(part.get("volumes_ml", {})),
            digest=digest,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        raise UserError(f"cannot be read: {error!r}", where=file, next="Build the bundle again.") from error


def _ranges(data: Sequence[Mapping[str, Any]], members: int) -> tuple[Ranges, ...]:
    found = tuple(map(_pairs, data))
    if len(found) != members:
        raise ValueError(f"int8 has ranges of {len(found)} networks, not of {members}")
    if any(not low <= 0 <= high for ranges in found for low, high in ranges.values()):
        raise ValueError("int8 has a range that leaves 0 out")
    return found


def _pairs(data: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Name → the smaller and the larger of two numbers."""
    found = {name: (float(low), float(high)) for name, (low, high) in data.items()}
    for name, (low, high) in found.items():
        if not -math.inf < low <= high < math.inf:  # NaN is below nothing
            raise ValueError(f"{name} is {low} to {high}")
    return found


def format_of(recipe: Recipe, members: int) -> int:
    """The lowest format that says everything: 2 where several networks answer, masks are post-processed, or air is left out."""
    return 2 if members > 1 or any(recipe.postprocessing.values()) or recipe.body_box else 1


def contents_sha256(part: Mapping[str, Any]) -> str:
    """Of the "unet" part of the metadata, without the entry that holds this hash; it covers the weights by theirs."""
    content = {key: value for key, value in part.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def network_with(
    name: str,
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    where: Path,
    members: int = 1,
    head: Head = "softmax",
) -> OriginalUNet | Ensemble:
    """A network of the catalogue with these weights, in evaluation mode.

    Args:
        members, head: several networks as one, whose probabilities are averaged; see `Ensemble`.
    Raises: UserError for an unknown network or setting, or weights of another network; it names `where`.
    """
    from ..network.catalogue import build_network
    from ..network.ensemble import build_ensemble
    from ..network.undrawn import Undrawn

    network: OriginalUNet | Ensemble
    try:
        with Undrawn():
            if members == 1:
                network = build_network(name, settings)
            else:
                network = build_ensemble(name, settings, members=members, head=head)
        network.load_state_dict(dict(weights))
    except UserError as error:
        raise UserError(error.what, where=where, next=error.next) from error
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"the weights do not fit the network '{name}' ({str(error).splitlines()[0].rstrip(':')})"
        raise UserError(what, where=where) from error
    return network.eval()
