"""The table of formats that a prediction can be handed out in. Adding one means adding a file and a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Literal

from ..errors import UserError
from ..inference.prediction import Prediction
from ..io.dicom.quiet import quiet
from ..io.volume import Volume
from ..labels import LabelTable
from .study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One file of a prediction folder."""

    option: str  # of `unet predict`, without the dashes; '' for the mask itself, which is always there
    file: str
    what: str
    needs: Literal["", "dicom", "place"]  # DICOM files to refer to; a place in mm
    writer: str  # module:function, loaded when chosen; (prediction, path), or (prediction, study, path) where DICOM is needed
    exact: bool = False  # on the acquired slices themselves, also where the mask had to be resampled
    overlapping: bool = True  # can hold a voxel that belongs to two structures
    map: Literal["", "probabilities", "uncertainty"] = ""  # that `Predictor.predict` has to be asked for
    packages: tuple[str, ...] = ()  # that take long to load

    def write(self, prediction: Prediction, study: Study | None, path: Path) -> None:
        """Write the file and read it back. Raises: RuntimeError where it reads back differently."""
        module, _, name = self.writer.partition(":")
        write: Callable[..., None] = getattr(import_module(module, __package__), name)
        if self.needs == "dicom":
            with quiet():  # of UIDs that are kept as they are, though they break the rules
                write(prediction, study, path)
        else:
            write(prediction, path)


NIFTI = Format(
    option="",
    file="mask.nii.gz",
    what="NIfTI mask",
    needs="",
    writer=".nifti:write_nifti_mask",
    packages=("nibabel", "SimpleITK"),
)
PICTURE = Format(option="", file="mask.png", what="picture mask", needs="", writer=".nifti:write_picture_mask")
FORMATS = (
    Format(
        option="seg",
        file="mask.seg.dcm",
        what="DICOM SEG",
        needs="dicom",
        writer=".seg:write_seg",
        exact=True,
        packages=("highdicom.seg",),
    ),
    Format(
        option="rtstruct",
        file="mask.rtstruct.dcm",
        what="RTSTRUCT",
        needs="dicom",
        writer=".rtstruct:write_rtstruct",
        exact=True,
    ),
    Format(option="slicer", file="mask.seg.nrrd", what="3D Slicer segmentation", needs="place", writer=".slicer:write_slicer"),
    Format(
        option="itksnap",
        file="mask.labels.txt",
        what="ITK-SNAP label descriptions",
        needs="",
        writer=".itksnap:write_itksnap",
        overlapping=False,
    ),
    Format(
        option="probabilities",
        file="probabilities.nii.gz",
        what="probabilities as NIfTI",
        needs="",
        writer=".maps:write_probabilities",
        map="probabilities",
    ),
    Format(
        option="uncertainty",
        file="uncertainty.nii.gz",
        what="uncertainty as NIfTI",
        needs="",
        writer=".maps:write_uncertainty",
        map="uncertainty",
    ),
)
BY_DEFAULT = ("seg",)  # where the input is DICOM
FOR_PICTURES = ("skimage.measure",)  # of the overview that every prediction has


def chosen_formats(wanted: Mapping[str, bool | None], image: Volume, table: LabelTable) -> tuple[Format, ...]:
    """The mask's own format, and those that the user wants.

    Args:
        wanted: option → yes, no, or None for the default; an option that is not there is no.
    Raises: UserError for a format that this input or these structures cannot have.
    """
    source = image.source
    flat = source.kind == "picture" and image.array.ndim == 3 and image.shape[2] == 1 and not table.overlapping
    found = [PICTURE if flat else NIFTI]
    for row in FORMATS:
        asked = wanted.get(row.option, False)
        if asked is None:
            asked = row.option in BY_DEFAULT and source.kind == "dicom"
        if not asked:
            continue
        fault = _fault(row, image, table)
        if fault:
            raise UserError(f"--{row.option} {fault}", where=source.path, next="Leave it out.")
        found.append(row)
    return tuple(found)


def load_ahead(formats: Sequence[Format]) -> None:
    """Begin to load what writing these will need, in the background: while the network runs, Python itself has little to do."""

    def load() -> None:
        for package in (*FOR_PICTURES, *(package for row in formats for package in row.packages)):
            with suppress(ImportError):  # said by whoever needs it
                import_module(package)

    # Python waits for it at its end: cut off in the midst of loading a library, the process would abort
    Thread(target=load).start()


def _fault(row: Format, image: Volume, table: LabelTable) -> str:
    """'' or why this input or these structures cannot be written so."""
    if row.needs == "dicom" and not image.source.slice_files:
        return "needs a DICOM series to refer to"
    if row.needs == "place" and image.source.kind == "picture":
        return "needs a place in mm, and a picture has none"
    return "cannot hold structures that overlap" if table.overlapping and not row.overlapping else ""
