"""Write a prediction as a DICOM segmentation that refers to every slice of its series (highdicom; PS3.3 A.51).

One segment a structure, in the order of the table; one frame a structure and source slice where the structure occurs.
highdicom is given nameless stand-ins of the source's slices, one for each; patient, study and references are put in afterwards.
So frames of an Enhanced object, one of several volumes in a file, and headers with faults or holes all go the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..codes import CATEGORIES, MODIFIERS, Code
from ..inference.prediction import Prediction
from ..io.dicom.headers import SliceHeader
from ..io.dicom.stack import frame_plane
from ..labels import Structure
from .planes import object_uid, plane_of_structure, source_planes
from .study import ALWAYS, Study, add_equipment, add_study, described, device, instances, made_uid, reference

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9000  # added to the source's: behind all series of the scanner
STAND_IN_CLASS = "1.2.840.10008.5.1.4.1.1.2"  # CT Image Storage: any class of one frame would do, none is left in the end
SAME_PLACE_MM = 1e-3
LARGE = 1 << 26  # bytes of an element that is left in the file until it is wanted


def write_seg(prediction: Prediction, study: Study, path: Path) -> None:
    """Write the SEG and read it back.

    Args:
        prediction: of a volume read from DICOM.
        study: of `study_of(prediction.image.source)`.
    Raises: RuntimeError where the written file does not hold the labels, voxel by voxel.
    """
    planes = source_planes(prediction)
    _save(prediction, study, planes, path)  # and lets go of what it made: the frames of a large series are not held twice
    verify_seg(path, study, planes)


def verify_seg(path: Path, study: Study, planes: np.ndarray) -> None:
    """Raises: RuntimeError where a frame differs from the plane of the slice that it refers to, or one is missing."""
    from pydicom import dcmread

    dataset = dcmread(path, defer_size=LARGE)
    stored = dataset.get_item("PixelData", keep_deferred=True)  # where it lies in the file: it may be larger than the scan
    packed = np.memmap(path, np.uint8, mode="r", offset=stored.value_tell, shape=(stored.length,))
    slices = study.slices_by_reference()
    left = {
        (k, position)
        for position in range(len(dataset.SegmentSequence))
        for k in range(len(planes))
        if plane_of_structure(planes, k, position).any()
    }
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        k = slices[(source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))]
        segment = (groups if "SegmentIdentificationSequence" in groups else shared).SegmentIdentificationSequence[0]
        position = segment.ReferencedSegmentNumber - 1
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        if np.abs(place - frame_plane(study.headers[k].frame)[0]).max() > SAME_PLACE_MM:
            raise RuntimeError(f"frame {number + 1} of the written SEG does not lie on its source slice")
        if not np.array_equal(_frame(packed, dataset.Rows, dataset.Columns, number), plane_of_structure(planes, k, position)):
            raise RuntimeError(f"frame {number + 1} of the written SEG reads back with other pixels")
        left.discard((k, position))
    if left:
        raise RuntimeError(f"{len(left)} planes are missing in the written SEG")


def _frame(packed: np.ndarray, rows: int, columns: int, number: int) -> np.ndarray:
    """Bool (rows, columns): unpacked one by one, for all frames of a large series would not fit into memory as bytes."""
    size = rows * columns
    first, skip = divmod(number * size, 8)
    bits = np.unpackbits(packed[first : first + (skip + size + 7) // 8], bitorder="little")[skip : skip + size]
    return np.asarray(bits.reshape(rows, columns) == 1)


def _save(prediction: Prediction, study: Study, planes: np.ndarray, path: Path) -> None:
    dataset = _segmentation(prediction, study, planes)
    _refer_to_source(dataset, study)
    dataset.save_as(path, enforce_file_format=True)


def _segmentation(prediction: Prediction, study: Study, planes: np.ndarray) -> Dataset:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    uid, number = object_uid(prediction, "SEG"), study.series_number + SERIES_NUMBER
    stand_ins = _stand_ins(study)
    empty = not planes.any()
    if empty:  # a SEG has at least one frame, but a series without findings should not become one of hundreds
        planes, stand_ins = planes[:1], stand_ins[:1]
    dataset = Segmentation(
        source_images=stand_ins,
        pixel_array=planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(s, k + 1, prediction.provenance) for k, s in enumerate(prediction.table.structures)],
        omit_empty_frames=not empty,
        series_instance_uid=made_uid("series", uid),
        series_number=number,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="unet",
        manufacturer_model_name="unet",
        software_versions=__version__,
        device_serial_number=device(prediction.provenance),
        content_label="UNET",
        content_description=described(prediction.provenance),
    )
    add_study(dataset, study)
    add_equipment(dataset, prediction.provenance, datetime.now())
    organisation = made_uid("dimensions", uid)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    return dataset


def _segment(structure: Structure, number: int, provenance: Mapping[str, str]) -> Dataset:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    concept = structure.concept
    description = SegmentDescription(
        segment_number=number,
        segment_label=structure.name,
        segmented_property_category=_coded("SCT", CATEGORIES[concept.category], concept.category),
        segmented_property_type=_coded(concept.scheme, concept.value, concept.meaning),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=(provenance.get("bundle", "") or "unet")[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=(provenance.get("bundle_version", "") or __version__)[:64],
            source="unet",
        ),
        display_color=CIELabColor.from_rgb(*structure.colour),
    )
    if concept.modifiers:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifiers_of(concept)
    description.SegmentDescription = f"label value {structure.value}"
    return description


def modifiers_of(concept: Code) -> list[Dataset]:
    """Items of a modifier sequence: left, right, anterior, ..."""
    from highdicom.sr import CodedConcept

    return [CodedConcept.from_code(_coded("SCT", *MODIFIERS[word])) for word in concept.modifiers]


def _coded(scheme: str, value: str, meaning: str) -> object:
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(value, scheme, meaning)


def _stand_ins(study: Study) -> list[Dataset]:
    """A header a source slice with nothing but what highdicom looks at."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    orientation = [format_number_as_ds(float(c)) for c in _orientation(study)]
    first = study.headers[0].frame
    spacing = [format_number_as_ds(float(mm)) for mm in first.pixel_spacing or ()]
    thickness = format_number_as_ds(_thickness_mm(study))
    found = []
    for k, header in enumerate(study.headers):
        item = Dataset()
        for keyword in ALWAYS:
            setattr(item, keyword, None)
        item.StudyInstanceUID, item.FrameOfReferenceUID = study.study_uid, study.frame_of_reference_uid
        item.SOPClassUID, item.SOPInstanceUID = STAND_IN_CLASS, _stand_in_uid(study, k)
        item.SeriesInstanceUID, item.Modality = study.series_uid, header.frame.modality or "OT"
        item.Rows, item.Columns = first.rows, first.columns
        item.ImageOrientationPatient, item.PixelSpacing, item.SliceThickness = orientation, spacing, thickness
        item.ImagePositionPatient = [format_number_as_ds(float(mm)) for mm in header.frame.position or ()]
        found.append(item)
    return found


def _stand_in_uid(study: Study, k: int) -> str:
    return made_uid("slice", study.series_uid, str(k))


def _orientation(study: Study) -> np.ndarray:
    """(6,) direction cosines: the slices' own, or where they jitter within the tolerance their mean."""
    own = np.array([header.frame.orientation for header in study.headers], dtype=np.float64)
    if (own == own[0]).all():
        return np.asarray(own[0])
    along_row, along_column = own.mean(axis=0).reshape(2, 3)
    along_row /= np.linalg.norm(along_row)
    along_column -= (along_column @ along_row) * along_row
    return np.concatenate([along_row, along_column / np.linalg.norm(along_column)])


def _thickness_mm(study: Study) -> float:
    """What the source says, else the distance of its slices: without a value no reader takes the object."""
    stated = study.headers[0].frame.thickness_mm
    if stated is not None and stated > 0:
        return stated
    places = np.array([frame_plane(header.frame)[0] for header in study.headers])
    return float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1))) if len(places) > 1 else 1.0


def _refer_to_source(dataset: Dataset, study: Study) -> None:
    """The true slices in place of the stand-ins, and all of them, also where there is no frame."""
    true: dict[str, SliceHeader] = {_stand_in_uid(study, k): header for k, header in enumerate(study.headers)}
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        derivation = groups.DerivationImageSequence[0]
        stand_in = derivation.SourceImageSequence[0]  # frames of one slice share this item
        item = reference(true[stand_in.ReferencedSOPInstanceUID])
        item.PurposeOfReferenceCodeSequence = stand_in.PurposeOfReferenceCodeSequence
        item.SpatialLocationsPreserved = stand_in.SpatialLocationsPreserved
        derivation.SourceImageSequence = [item]
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances(study.headers)
    frames: dict[str, list[int]] = {}
    for header in study.headers:
        if header.frame_number is not None:
            frames.setdefault(header.frame.sop_uid, []).append(header.frame_number)
    sources = instances(study.headers)
    for item in sources:
        if item.ReferencedSOPInstanceUID in frames:
            item.ReferencedFrameNumber = frames[item.ReferencedSOPInstanceUID]
    dataset.SourceImageSequence = sources
