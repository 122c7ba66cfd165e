"""A bundle's network as an ONNX file in the user's cache, so that it is converted once and shared by all processes.

A file's name holds the SHA-256 of its contents: a damaged one is not taken for a network, it is written anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...io.paths import file_aside
from ...network.unet import OriginalUNet

GRAPH_FORMAT = 1  # of what `onnx_graph` writes: a change there that matters raises it


def cache_folder() -> Path:
    """Where things are kept that can be made again: $UNET_CACHE, or `unet` in the user's cache."""
    own = os.environ.get("UNET_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unet"


class Converted:
    """The ONNX graphs of one bundle.

    Args:
        digest: of the bundle.
        folder: of the cache; where it cannot be written to, every process converts for itself.
    """

    def __init__(self, digest: str, folder: Path | None = None) -> None:
        self.digest = digest
        self.folder = folder or cache_folder()

    def of(self, network: OriginalUNet, member: int = 0) -> Callable[[], bytes]:
        """What gives the serialised graph of this member of an ensemble, when it is needed."""
        return lambda: self._kept(member) or self._made(network, member)

    def _stem(self, member: int) -> str:
        return f"{self.digest[:32]}-{member}-v{GRAPH_FORMAT}"

    def _kept(self, member: int) -> bytes | None:
        for path in self.folder.glob(f"{self._stem(member)}-*.onnx"):
            with suppress(OSError):
                graph = path.read_bytes()
                if hashlib.sha256(graph).hexdigest() == path.stem.rpartition("-")[2]:
                    return graph
                path.unlink()
        return None

    def _made(self, network: OriginalUNet, member: int) -> bytes:
        from .onnx_graph import onnx_model

        graph = onnx_model(network)
        name = f"{self._stem(member)}-{hashlib.sha256(graph).hexdigest()}.onnx"
        with suppress(OSError), file_aside(self.folder / name) as aside:  # a full disk must not stop a prediction
            aside.write_bytes(graph)
        return graph
