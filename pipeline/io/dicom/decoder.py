"""Decode the compressed frames of a file: named decoders in a stated order, each stream judged first. Runs in a worker."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .codestream import BrokenStream, stream_size
from .elements import Damaged, any_behind_pixels, get, integer, read_whole, text
from .quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RLE = "1.2.840.10008.1.2.5"
# transfer syntax → pydicom's plug-ins for it in our order. The first that is installed decides: a second opinion on a stream
# that the first one refused would be a guess.
DECODERS: dict[str, tuple[str, ...]] = {
    RLE: ("pydicom",),
    "1.2.840.10008.1.2.4.50": ("gdcm", "pillow"),  # JPEG baseline, lossy
    "1.2.840.10008.1.2.4.51": ("gdcm", "pillow"),  # JPEG extended, lossy
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless, process 14
    "1.2.840.10008.1.2.4.70": ("gdcm",),  # JPEG lossless, selection value 1
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),  # JPEG-LS
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "gdcm"),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "gdcm"),  # JPEG 2000
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),  # HTJ2K
}
IN_WORKERS = tuple(syntax for syntax in DECODERS if syntax != RLE)  # plain Python unpacks RLE, which cannot crash
MODULES = {"pyjpegls": "jpeg_ls", "pylibjpeg": "openjpeg", "pillow": "PIL", "gdcm": "gdcm", "pydicom": "pydicom"}


class Undecodable(Exception):
    """What is wrong with the pixels, without the file's name."""


class OpenFile:
    """The compressed pixels of one file, kept between its frames."""

    def __init__(self, file: Path) -> None:
        try:
            self.dataset: Dataset = read_whole(file)
        except Damaged as error:
            raise Undecodable(f"the file is damaged ({error})") from error
        if any_behind_pixels(self.dataset):
            raise Undecodable("behind the pixels stands what belongs before them")
        if not isinstance(get(self.dataset, "PixelData"), bytes):
            raise Undecodable("there are no pixels in the file (truncated?)")
        self.syntax = text(getattr(self.dataset, "file_meta", self.dataset), "TransferSyntaxUID")
        if self.syntax not in DECODERS:
            raise Undecodable("its group 0002 does not say how the pixels are packed")
        self.plugin = next((p for p in DECODERS[self.syntax] if find_spec(MODULES[p])), DECODERS[self.syntax][0])
        self.rows, self.columns = integer(self.dataset, "Rows"), integer(self.dataset, "Columns")

    def frame(self, index: int) -> np.ndarray:
        """Stored values (rows, columns) as the decoder gives them. Raises: Undecodable."""
        from pydicom.pixels import get_decoder

        if self.syntax != RLE:
            self._judge(index)
        decoder = get_decoder(self.syntax)
        try:
            with quiet():
                found, _ = decoder.as_array(self.dataset, index=index, raw=True, decoding_plugin=self.plugin)
        except Exception as error:  # each library has its own errors for a damaged stream
            reason = (str(error).splitlines() or [type(error).__name__])[-1].strip().removeprefix(f"{self.plugin}: ")
            raise Undecodable(f"the pixels ({decoder.UID.name}) cannot be decoded: {self.plugin}: {reason}") from error
        return np.asarray(found)

    def _judge(self, index: int) -> None:
        """Raises: Undecodable when the stream is not whole, or not of the size that the DICOM header says."""
        from pydicom.encaps import get_frame

        try:
            with quiet():
                count = max(integer(self.dataset, "NumberOfFrames", 1), 1)
                offsets = self.dataset.get("ExtendedOffsetTable"), self.dataset.get("ExtendedOffsetTableLengths")
                extended = offsets if all(isinstance(part, bytes) for part in offsets) else None
                stream = get_frame(self.dataset.PixelData, index, number_of_frames=count, extended_offsets=extended)
            size = stream_size(stream)
        except BrokenStream as error:
            raise Undecodable(f"the compressed pixels are damaged: {error}") from error
        except Exception as error:  # a damaged sequence of fragments: whatever the parser meets
            raise Undecodable(f"the fragments of the compressed pixels are damaged ({type(error).__name__})") from error
        if (size.rows, size.columns, size.components) != (self.rows, self.columns, 1):
            what = f"{size.columns} x {size.rows} pixels of {size.components} components"
            raise Undecodable(f"the compressed pixels say {what}, the header says {self.columns} x {self.rows} of 1")
        allocated = integer(self.dataset, "BitsAllocated")
        if size.bits > allocated:
            raise Undecodable(f"the compressed pixels have {size.bits} bits, the header allocates {allocated}")
