"""A loaded bundle that segments volume after volume. Imports neither MONAI nor MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from .. import __version__
from ..bundle.bundle import Bundle, open_bundle
from ..data.slice_grid import AXES, slice_grid
from ..errors import Notice, UserError
from ..io.geometry import SHEAR_MM, shear_distance_mm
from ..io.read import read_volume
from ..io.volume import Volume
from ..network.mirrored import mirrored
from ..network.sizes import DEFAULT_TILE
from ..network.tiling import WholeSlice
from ..process import resident_bytes
from ..progress import bar
from .maps import Maps
from .only import chosen_table, keep_only
from .prediction import Prediction, StructureVolume, structure_volumes
from .runtime.catalogue import started
from .runtime.choose import choose
from .runtime.converted import Converted
from .segment import Bar, segment
from .tile_memory import fitting_tile

BEYOND = 0.1  # of the training cases' smallest and largest volume: further out, a structure is unlike all of them
THICK = 2.0  # slice distance to pixel size from which slices across the acquired ones are coarse


class Predictor:
    """Stays loaded; `predict` may be called as often as wanted, from several threads.

    Args:
        bundle: from `open_bundle`.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "mps".
        runtime: a name of `RUNTIMES`, such as "torch", or "auto": the fastest here that gives torch's answer.
        precision: "fp32", "bf16", "auto": bf16 where the processor has it and it is faster; or "int8", for bundles built so.
        tile: largest input side of the network in pixels: bounds the memory, does not change the mask.
        flips: average over the mirror images that the network was trained on: two or four times the time.
        only: names of structures; the others are left out of every prediction. () is all.
        max_ram_bytes: of this process: tiles become as small as it takes, and what does not fit then is refused.
    Raises: UserError for flips where it was trained without, an unknown structure, or a runtime, precision or device that
        is not to be had here.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        tile: int = DEFAULT_TILE,
        flips: bool = False,
        only: Sequence[str] = (),
        max_ram_bytes: int | None = None,
    ) -> None:
        self.bundle, recipe = bundle, bundle.recipe
        self.table = chosen_table(recipe.table, only)
        self.device = _device(device)
        self.flips = flips
        network = bundle.load_network()
        converted = Converted(bundle.digest, ranges=bundle.ranges)
        self.choice = choose(network, converted, device=self.device, runtime=runtime, precision=precision)
        self.tile, self.max_ram_bytes = tile, max_ram_bytes
        self._computing = started(self.choice.runtime, self.choice.precision, network, self.device, converted)
        self.network = self._whole(tile)

    @classmethod
    def from_bundle(
        cls,
        path: Path | str,
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        tile: int = DEFAULT_TILE,
        flips: bool = False,
        only: Sequence[str] = (),
        max_ram_bytes: int | None = None,
    ) -> Predictor:
        """Open a bundle folder. Raises: UserError as the class does, or where it is damaged or of an unknown kind."""
        return cls(
            open_bundle(path),
            device=device,
            runtime=runtime,
            precision=precision,
            tile=tile,
            flips=flips,
            only=only,
            max_ram_bytes=max_ram_bytes,
        )

    def predict(
        self,
        source: Volume | Path | str,
        *,
        series: str = "",
        volume: str = "",
        pixel_size_mm: float | None = None,
        accept_irregular: bool = False,
        probabilities: bool = False,
        uncertainty: bool = False,
        bar: Bar | None = None,
    ) -> Prediction:
        """Segment one volume.

        Args:
            source: a volume, or what `read_volume` reads: a DICOM folder, a zip of one, NIfTI, a picture.
            series, volume, pixel_size_mm, accept_irregular: as in `read_volume`; for paths only.
            probabilities, uncertainty: also these, as `Maps` has them.
            bar: wraps the slice numbers, to show progress; None: a bar of its own on a terminal.
        Raises: UserError as `read_volume` does, or where the volume is not what the bundle was trained for, or too large.
        """
        started = time.monotonic()
        image = source
        if not isinstance(image, Volume):
            image = read_volume(
                image,
                series=series,
                volume=volume,
                pixel_size_mm=pixel_size_mm,
                accept_irregular=accept_irregular,
                most_bytes=self.left_bytes,
            )
        read = time.monotonic()
        recipe = self.bundle.recipe
        maps = Maps(image, recipe, self.table, probabilities=probabilities, uncertainty=uncertainty)
        try:
            network = self._fitting(image, maps=len(self.table.structures) * probabilities + uncertainty)
            array = segment(network, image, recipe, device=self.device, bar=bar or _bar_of(image), see=maps)
        except UserError as error:
            where = image.source.short_name if isinstance(source, Volume) else source  # as the caller named it
            raise UserError(error.what, where=where, next=error.next) from error
        labels = replace(image, array=keep_only(array, recipe.table, self.table))
        finished = time.monotonic()
        structures = structure_volumes(labels, self.table)
        return Prediction(
            image=image,
            labels=labels,
            table=self.table,
            structures=structures,
            probabilities=maps.probabilities,
            uncertainty=maps.uncertainty,
            notices=(*image.source.notices, *_sheared(image), *self._other_plane(image), *self._unlike_training(structures)),
            timings_s={"read": round(read - started, 3), "segment": round(finished - read, 3)},
            provenance={
                "bundle": self.bundle.name,
                "bundle_version": self.bundle.version,
                "bundle_sha256": self.bundle.digest,
                "unet": __version__,
                "torch": str(torch.__version__),
                "device": self.device.type,
                "runtime": self.choice.runtime,
                "precision": self.choice.precision,
                "flips": " and ".join(recipe.flips) if self.flips else "none",
            },
        )

    @property
    def left_bytes(self) -> int | None:
        """What a scan may take of the memory that this process may take; None where that is not bounded.

        At least a quarter of it: a scan that is smaller is read, so that the refusal can say what it would need in all.
        """
        if self.max_ram_bytes is None:
            return None
        return max(self.max_ram_bytes // 4, self.max_ram_bytes - resident_bytes())

    def _whole(self, tile: int) -> nn.Module:
        """The network for slices of any size."""
        whole, recipe = WholeSlice(self._computing, tile=tile), self.bundle.recipe
        return mirrored(whole, recipe.flips, recipe.head) if self.flips else whole

    def _fitting(self, image: Volume, maps: int) -> nn.Module:
        """The network with tiles as large as memory allows."""
        if self.max_ram_bytes is None or self.device.type != "cpu":
            return self.network
        tile = fitting_tile(
            self._computing.design,
            self.choice.precision,
            image,
            self.bundle.recipe,
            most_bytes=self.max_ram_bytes,
            tile=self.tile,
            maps=maps,
        )
        return self._whole(tile)

    def _unlike_training(self, structures: Sequence[StructureVolume]) -> Iterator[Notice]:
        for found in structures:
            low, high = self.bundle.volumes_ml.get(found.structure.name, (0.0, math.inf))
            if found.ml is not None and not low * (1 - BEYOND) <= found.ml <= high * (1 + BEYOND):
                sentence = f"{found}, in the training cases it was {low:g} to {high:g} ml"
                yield Notice(code="unlike-training", sentence=sentence)

    def _other_plane(self, image: Volume) -> tuple[Notice, ...]:
        settings = self.bundle.recipe.preprocessing
        if settings.plane not in AXES:
            return ()
        grid = slice_grid(image.shape, image.affine, settings)
        across = image.spacing_mm[grid.order[2]]
        in_plane = max(grid.pixel_mm)
        if in_plane <= THICK * across:
            return ()
        sentence = (
            f"the network sees {settings.plane} slices, this volume was acquired in another plane and is coarse in that one "
            f"({in_plane:.1f} mm against {across:.1f} mm): expect a worse mask"
        )
        return (Notice(code="other-plane", sentence=sentence, where=image.source.short_name),)


def _bar_of(image: Volume) -> Bar:
    return lambda items: bar(items, title=image.source.short_name, unit="slice")


def _sheared(image: Volume) -> tuple[Notice, ...]:
    if shear_distance_mm(image.affine, image.shape) <= SHEAR_MM:
        return ()
    sentence = (
        "the slices are sheared (tilted gantry): the mask is written on a right-angled grid, each slice moved in its own plane "
        "by whole pixels"
    )
    return (Notice(code="mask-resampled", sentence=sentence, where=image.source.short_name),)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"'{name}' is not a device (one of: auto, cpu, cuda, mps)", where="--device")
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        kind = "CUDA device" if name == "cuda" else "Apple GPU"
        raise UserError(f"there is no {kind} here", where="--device", next="Use --device cpu.")
    return torch.device(name)
