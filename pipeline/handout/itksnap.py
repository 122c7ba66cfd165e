"""Write names and colours of the label values as ITK-SNAP's label description file. Knows nothing of the mask's voxels."""

from __future__ import annotations

from pathlib import Path

from ..inference.prediction import Prediction

HEAD = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Load it after the mask: Segmentation > Import Label Descriptions
################################################
"""
CLEAR = "Clear Label"  # ITK-SNAP's own name of the value 0


def write_itksnap(prediction: Prediction, path: Path) -> None:
    """Write one row a label value.

    A double quote in a name becomes an apostrophe: the format puts names into double quotes and knows no way to write one.
    The background is invisible, whatever its value.

    Raises: RuntimeError where the file does not read back as it was meant.
    """
    table = prediction.table
    rows = {table.background: ((0, 0, 0), 0, "background"), 0: ((0, 0, 0), 0, CLEAR)}
    rows |= {s.value: (s.colour, 1, s.name.replace('"', "'")) for s in table.structures}
    text = HEAD
    for value, ((red, green, blue), seen, name) in sorted(rows.items()):
        text += f'{value:5d} {red:5d} {green:4d} {blue:4d} {seen:8d} {seen:2d} {seen:2d}    "{name}"\n'
    path.write_text(text, encoding="utf-8")
    if path.read_text(encoding="utf-8") != text:
        raise RuntimeError("the written label descriptions read back differently")
