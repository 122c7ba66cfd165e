"""Read grey pictures (PNG, TIFF) as one slice or a stack, and write masks as PNG. Knows nothing of patients or learning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .paths import existing, file_aside
from .volume import Source, Volume

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "TIFF")
LOSSY_TIFF = ("jpeg", "webp")
MOST_VALUES = 2**31  # more in one file is a claim, not a picture: refused before memory is taken
GREY_MODES = {
    "1": np.uint8,
    "L": np.uint8,
    "I;16": np.uint16,
    "I;16B": np.uint16,
    "I;16L": np.uint16,
    "I": np.int32,
    "F": np.float32,
}


def looks_like_picture(path: Path) -> bool:
    """Whether the first bytes are those of PNG, TIFF or JPEG (which `read_picture` refuses with a reason)."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return False
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\xff\xd8\xff"))


def read_picture(path: Path | str, *, pixel_size_mm: float | None = None, as_labels: bool = False) -> Volume:
    """A grey PNG or TIFF as a volume of one slice; a TIFF of several pages as a stack.

    Columns run towards the patient's left and rows towards the back, as an axial slice lies on a screen.

    Args:
        pixel_size_mm: side of a pixel, also the distance of pages; None: 1 is put into the affine and `spacing_known` is False.
        as_labels: a palette picture gives its indices (its colours are only for looking at).
    Returns: (columns, rows, pages), uint8, uint16, int32 or float32 as it is stored.
    Raises: UserError for colours, half-transparent pixels, lossy pictures, pages of different sizes and damaged files.
    """
    from PIL import Image, UnidentifiedImageError

    path = existing(path)
    if pixel_size_mm is not None and not 0 < pixel_size_mm < float("inf"):
        raise UserError(f"the pixel size {pixel_size_mm} mm is not a positive number", where=path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged below, by the number of values
            with Image.open(path, formats=(*FORMATS, "JPEG")) as picture:
                pages = _pages(picture, path, as_labels)
    except UnidentifiedImageError as error:
        raise UserError("this is not a PNG or TIFF picture", where=path, next="Export it as one of these.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the picture is damaged or too large ({error})", where=path, next="Copy it again.") from error
    size = 1.0 if pixel_size_mm is None else float(pixel_size_mm)
    source = Source(path=path, kind="picture", spacing_known=pixel_size_mm is not None)
    return Volume(array=np.stack(pages, axis=-1), affine=np.diag([-size, -size, size, 1.0]), source=source)


def write_picture(array: np.ndarray, path: Path | str) -> None:
    """A mask as PNG of the same size.

    Args:
        array: (columns, rows), whole numbers 0 to 255 or bool.
        path: ends in .png; the folder is made; an existing file is replaced when the new one has been read back.
    Raises: UserError for another ending or values outside 0 to 255.
    """
    from PIL import Image

    path = Path(path)
    if array.ndim != 2:
        raise ValueError(f"a picture is (columns, rows), not {array.shape}")
    if path.suffix.lower() != ".png":
        raise UserError(f"'{path.name}' does not end in .png", where=path, next="Masks of pictures are written as PNG.")
    if array.dtype.kind not in "iub" or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        raise UserError("the mask holds values that are not whole numbers from 0 to 255", where=path)
    rows_first = np.ascontiguousarray(array.T, dtype=np.uint8)  # (rows, columns), as Pillow has it
    try:
        with file_aside(path) as aside:
            Image.fromarray(rows_first).save(aside, format="PNG")
            with Image.open(aside) as written:
                if not np.array_equal(np.asarray(written), rows_first):
                    raise RuntimeError("the written PNG reads back with other values")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=path, next="Is the disk full?") from error


def _pages(picture: Image.Image, path: Path, as_labels: bool) -> list[np.ndarray]:
    if picture.format == "JPEG" or picture.info.get("compression") in LOSSY_TIFF:
        raise UserError(
            "JPEG changes grey values and borders of masks", where=path, next="Export it without loss as PNG or TIFF."
        )
    count = getattr(picture, "n_frames", 1)
    if picture.width * picture.height * count > MOST_VALUES:
        raise UserError(
            f"the file claims {count} pictures of {picture.size} pixels", where=path, next="Cut it into smaller files."
        )
    pages: list[np.ndarray] = []
    for number in range(count):
        picture.seek(number)
        page = _grey(picture, path, as_labels).T  # (columns, rows)
        if pages and page.shape != pages[0].shape:
            what = f"page {number + 1} has {page.shape} pixels, page 1 has {pages[0].shape}"
            raise UserError(what, where=path, next="Save pages of different sizes as single files.")
        pages.append(page)
    return pages


def _grey(picture: Image.Image, path: Path, as_labels: bool) -> np.ndarray:
    """(rows, columns) of one page."""
    if picture.mode in GREY_MODES:
        return np.array(picture).astype(GREY_MODES[picture.mode])
    if picture.mode == "P" and as_labels:
        return np.array(picture).astype(np.uint8)
    if picture.mode not in ("P", "LA", "PA", "RGB", "RGBA"):
        raise UserError(f"pictures of the mode {picture.mode} are not read", where=path, next="Export it as a grey picture.")
    colours = np.array(picture.convert("RGBA"))  # (rows, columns, 4)
    if (colours[..., 3] != 255).any():
        raise UserError("the picture is transparent in places", where=path, next="Export it as a grey picture without alpha.")
    if (colours[..., :1] != colours[..., 1:3]).any():
        raise UserError(
            "the picture is in colour", where=path, next="Export it as a grey picture, or as PNG with a palette for labels."
        )
    return colours[..., 0].copy()
