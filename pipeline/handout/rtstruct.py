"""Write a prediction as an RTSTRUCT: closed planar contours on the slices of its series (PS3.3 A.19). Plain pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..codes import CATEGORIES
from ..inference.prediction import Prediction
from ..io.dicom.headers import SliceHeader
from ..io.dicom.rtstruct import filled
from ..io.dicom.stack import frame_plane
from ..labels import Structure
from .outlines import outlines
from .planes import object_uid, plane_of_structure, source_planes
from .seg import modifiers_of
from .study import Study, add_equipment, add_study, described, instances, made_uid, reference

if TYPE_CHECKING:
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9500  # added to the source's: behind all series of the scanner and the SEG
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # retired, and still what every reader expects in this place
CONTOUR_DATA = 0x30060050
DECIMALS = 6  # of a coordinate in mm; DICOM allows 16 characters a number
SAME_PLACE_MM = 1e-4


def write_rtstruct(prediction: Prediction, study: Study, path: Path) -> None:
    """Write the RTSTRUCT and read it back.

    Args:
        prediction: of a volume read from DICOM.
        study: of `study_of(prediction.image.source)`.
    Raises: RuntimeError where the contours, filled on the source's slices, do not give the labels pixel by pixel.
    """
    planes = source_planes(prediction)
    dataset = _structure_set(prediction, study)
    dataset.ROIContourSequence = [
        _contours(structure, position, study, planes) for position, structure in enumerate(prediction.table.structures)
    ]
    dataset.save_as(path, enforce_file_format=True)
    verify_rtstruct(path, study, planes)


def verify_rtstruct(path: Path, study: Study, planes: np.ndarray) -> None:
    """Raises: RuntimeError where a contour leaves the slice that it names, or contours do not enclose the labels' pixels."""
    from pydicom import dcmread

    dataset = dcmread(path)
    slices = study.slices_by_reference()
    for position, roi in enumerate(dataset.ROIContourSequence):
        polygons: dict[int, list[np.ndarray]] = {}
        for contour in roi.get("ContourSequence", ()):
            item = contour.ContourImageSequence[0]
            k = slices[(item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber"))]
            numbers = contour.get_item(CONTOUR_DATA).value.decode("ascii").split("\\")
            points_mm = np.array(numbers, dtype=np.float64).reshape(-1, 3)
            polygons.setdefault(k, []).append(_in_pixels(points_mm, study.headers[k], position))
        for k in range(len(planes)):
            if not _encloses(polygons.get(k, []), plane_of_structure(planes, k, position)):
                raise RuntimeError(f"structure {position + 1} of the written RTSTRUCT differs on slice {k + 1}")


def _encloses(polygons: Sequence[np.ndarray], wanted: np.ndarray) -> bool:
    """Whether polygons (points, 2: column, row) enclose the pixels of a mask (rows, columns) and no others."""
    if not polygons:
        return not wanted.any()
    points = np.concatenate(polygons)
    first, last = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int) + 1
    first = np.maximum(first, 0)
    box = wanted[first[1] : last[1], first[0] : last[0]]
    inside = filled([polygon - first for polygon in polygons], box.shape[::-1]).T
    return np.array_equal(inside, box) and np.count_nonzero(wanted) == np.count_nonzero(box)


def _in_pixels(points_mm: np.ndarray, header: SliceHeader, position: int) -> np.ndarray:
    """(points, 2): column and row. Raises: RuntimeError where a point does not lie in the slice's plane."""
    origin, column_step, row_step = frame_plane(header.frame)
    axes = np.stack([column_step, row_step], axis=1)
    pixels, *_ = np.linalg.lstsq(axes, (points_mm - origin).T, rcond=None)
    if np.abs(axes @ pixels - (points_mm - origin).T).max() > SAME_PLACE_MM:
        raise RuntimeError(f"a contour of structure {position + 1} of the written RTSTRUCT leaves its slice")
    return np.asarray(pixels.T)


def _structure_set(prediction: Prediction, study: Study) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    uid, now = object_uid(prediction, "RTSTRUCT"), datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    # explicit lengths of contour data have 16 bits: an outline of 2000 points would not fit
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = RTSTRUCT_CLASS, uid
    add_study(dataset, study)
    add_equipment(dataset, prediction.provenance, now)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTSTRUCT_CLASS, uid, "RTSTRUCT"
    dataset.SeriesInstanceUID, dataset.SeriesNumber = made_uid("series", uid), study.series_number + SERIES_NUMBER
    dataset.InstanceNumber, dataset.OperatorsName = 1, ""
    dataset.StructureSetLabel, dataset.StructureSetName = "UNET", described(prediction.provenance)
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(study)]
    structures = prediction.table.structures
    dataset.StructureSetROISequence = [_roi(s, k + 1, study) for k, s in enumerate(structures)]
    dataset.RTROIObservationsSequence = [_observation(s, k + 1) for k, s in enumerate(structures)]
    return dataset


def _frame_of_reference(study: Study) -> Dataset:
    """Frame of reference → study → series → all its slices, also those without a contour."""
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = study.series_uid
    series.ContourImageSequence = instances(study.headers)
    studies = Dataset()
    studies.ReferencedSOPClassUID, studies.ReferencedSOPInstanceUID = STUDY_CLASS, study.study_uid
    studies.RTReferencedSeriesSequence = [series]
    place = Dataset()
    place.FrameOfReferenceUID = study.frame_of_reference_uid
    place.RTReferencedStudySequence = [studies]
    return place


def _roi(structure: Structure, number: int, study: Study) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber, item.ROIName = number, structure.name
    item.ReferencedFrameOfReferenceUID = study.frame_of_reference_uid
    item.ROIDescription = f"label value {structure.value}"
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _observation(structure: Structure, number: int) -> Dataset:
    from pydicom.dataset import Dataset

    concept = structure.concept
    category, code = Dataset(), Dataset()
    category.CodeValue, category.CodingSchemeDesignator = CATEGORIES[concept.category], "SCT"
    category.CodeMeaning = concept.category
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = concept.value, concept.scheme, concept.meaning
    if concept.modifiers:
        code.SegmentedPropertyTypeModifierCodeSequence = modifiers_of(concept)
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.SegmentedPropertyCategoryCodeSequence = [category]
    item.RTROIIdentificationCodeSequence = [code]
    item.RTROIInterpretedType = "ORGAN" if concept.category == "Anatomical Structure" else ""
    item.ROIInterpreter = ""
    return item


def _contours(structure: Structure, position: int, study: Study, planes: np.ndarray) -> Dataset:
    from pydicom.charset import default_encoding
    from pydicom.dataset import Dataset

    found: list[Dataset] = []
    for k, header in enumerate(study.headers):
        for outline in outlines(plane_of_structure(planes, k, position)):
            contour = Dataset()
            contour.ContourImageSequence = [reference(header)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(outline)
            contour.ContourNumber = len(found) + 1
            contour[CONTOUR_DATA] = _coordinates(outline, header)
            contour.set_original_encoding(True, True, default_encoding)  # numbers: nothing to convert
            found.append(contour)
    item = Dataset()
    item.ROIDisplayColor = list(structure.colour)
    item.ReferencedROINumber = position + 1
    if found:
        item.ContourSequence = found
    return item


def _coordinates(outline: np.ndarray, header: SliceHeader) -> RawDataElement:
    """x, y, z (LPS, mm) of one point after the other, 16 characters each at most.

    As bytes: pydicom takes ten times as long for a million numbers that it turns into objects of their own.
    """
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag
    from pydicom.valuerep import format_number_as_ds

    origin, column_step, row_step = frame_plane(header.frame)
    points = origin + outline[:, :1] * column_step + outline[:, 1:] * row_step
    texts = [f"{value:.{DECIMALS}f}" for value in points.ravel().tolist()]
    data = "\\".join(text if len(text) <= 16 else format_number_as_ds(float(text)) for text in texts).encode("ascii")
    data += b" " * (len(data) % 2)
    return RawDataElement(Tag(CONTOUR_DATA), "DS", len(data), data, 0, True, True)
