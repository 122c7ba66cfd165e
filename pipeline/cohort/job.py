"""What is wanted of every series: the bundle, the settings, the place. Loads the bundle once a process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..io.paths import write_text
from ..network.sizes import DEFAULT_TILE
from .claims import claimed
from .listed import Unit, digest_of
from .records import UNITS

if TYPE_CHECKING:
    from ..inference.predictor import Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Travels to other processes and machines, so its paths are absolute."""

    bundle: Path
    bundle_name: str
    bundle_sha256: str
    out: Path
    formats: tuple[tuple[str, bool | None], ...] = ()  # as in `chosen_formats`
    page: bool = True  # report.html of each series
    accept_irregular: bool = False
    flips: bool = False
    only: tuple[str, ...] = ()  # names of structures; () is all
    device: str = "auto"  # this and the following as in `Predictor`
    runtime: str = "auto"
    precision: str = "auto"
    tile: int = DEFAULT_TILE
    max_ram_bytes: int | None = None  # of each process

    def order(self, unit: Unit) -> str:
        """16 hex digits of all that the mask and its files follow from, beside the series itself: where it differs, they are
        made anew. Device, tile and memory are not in it: they do not change the mask."""
        settings = [
            self.formats,
            self.page,
            self.accept_irregular,
            self.flips,
            sorted(self.only),
            self.runtime,
            self.precision,
            unit.pixel_size_mm,
        ]
        return digest_of(self.bundle_sha256, unit.state, json.dumps(settings))

    def claim(self, unit: Unit) -> Path:
        return self.out / UNITS / f"{unit.id}.lock"

    def predictor(self) -> Predictor:
        """The loaded bundle. What computes it, where that is left open, is chosen by the first process and kept in OUT: masks
        of one cohort must not differ in their last voxels by who made them.

        Raises: UserError as `Predictor` does.
        """
        from ..inference.predictor import Predictor

        file = self.out / UNITS / f"computing-{digest_of(self.bundle_sha256, self.runtime, self.precision)}"
        with claimed(file.with_suffix(".lock"), wait=True):
            kept = _kept(file)
            if kept is not None:
                try:
                    return self._predictor(Predictor, *kept)
                except UserError:  # another machine has not got it: then what is best here
                    pass
            found = self._predictor(Predictor, self.runtime, self.precision)
            if kept is None:
                write_text(file, f"{found.choice.runtime} {found.choice.precision}\n")
        return found

    def _predictor(self, kind: type[Predictor], runtime: str, precision: str) -> Predictor:
        return kind.from_bundle(
            self.bundle,
            device=self.device,
            runtime=runtime,
            precision=precision,
            tile=self.tile,
            flips=self.flips,
            only=self.only,
            max_ram_bytes=self.max_ram_bytes,
        )


def _kept(file: Path) -> tuple[str, str] | None:
    try:
        runtime, precision = file.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return runtime, precision
