"""A bundle's network as an ONNX file in the user's cache, so that it is converted once and shared by all processes.

A file's name holds the SHA-256 of its contents: a damaged one is not taken for a network, it is written anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ...io.paths import file_aside
from ...network.precision import Precision
from ...network.ranges import Ranges
from ...network.unet import OriginalUNet
from .onnx_graph import onnx_model

GRAPH_FORMAT = 4  # of what `onnx_graph` writes: a change there that matters raises it


def cache_folder() -> Path:
    """Where things are kept that can be made again: $UNET_CACHE, or `unet` in the user's cache."""
    own = os.environ.get("UNET_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unet"


class Converted:
    """The ONNX graphs of one bundle.

    Args:
        digest: of the bundle.
        folder: of the cache; where it cannot be written to, every process converts for itself.
        ranges: of each network, for eight bits; () where the bundle has none.
    """

    def __init__(self, digest: str, folder: Path | None = None, *, ranges: Sequence[Ranges] = ()) -> None:
        self.digest, self.ranges = digest, ranges
        self.folder = folder or cache_folder()

    def of(
        self, network: OriginalUNet, precision: Precision, member: int = 0, *, fewer_products: bool = False
    ) -> Callable[[], bytes]:
        """What gives the serialised graph of this member of an ensemble, when it is needed; the last as in `onnx_model`."""
        ranges = self.ranges[member] if precision == "int8" else None
        kind = "-int8" if ranges else "-winograd" if fewer_products else ""
        stem = f"{self.digest[:32]}-{member}{kind}-v{GRAPH_FORMAT}"
        return lambda: self._kept(stem) or self._made(stem, lambda: onnx_model(network, ranges, fewer_products=fewer_products))

    def _kept(self, stem: str) -> bytes | None:
        for path in self.folder.glob(f"{stem}-*.onnx"):
            with suppress(OSError):
                graph = path.read_bytes()
                if hashlib.sha256(graph).hexdigest() == path.stem.rpartition("-")[2]:
                    return graph
                path.unlink()
        return None

    def _made(self, stem: str, make: Callable[[], bytes]) -> bytes:
        graph = make()
        name = f"{stem}-{hashlib.sha256(graph).hexdigest()}.onnx"
        with suppress(OSError), file_aside(self.folder / name) as aside:  # a full disk must not stop a prediction
            aside.write_bytes(graph)
        return graph
