"""The pictures of a run on its page: lighter than the files they come from."""

from __future__ import annotations

import io
from pathlib import Path

from ..report.page import Page

QUALITY = 88  # of a JPEG: outlines stay sharp, at a quarter of the PNG's size
WIDEST_PX = 1400


def add_picture(page: Page, file: Path, rank: str) -> None:
    """The best, median or worst case, where there is a picture of it."""
    if not file.is_file():
        return
    from PIL import Image

    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDEST_PX:
        picture = picture.resize((WIDEST_PX, round(picture.height * WIDEST_PX / picture.width)))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, subsampling=0)
    caption = f"The {rank} validated case: prediction in colour, truth in white."
    page.picture(out.getvalue(), caption, f"Slices of the {rank} validated case with outlines of truth and prediction")
