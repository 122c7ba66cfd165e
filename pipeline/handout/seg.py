"""Write a prediction as a DICOM segmentation that refers to every slice of its series (highdicom; PS3.3 A.51).

One segment a structure, in the order of the table; one frame a structure and source slice where the structure occurs.
highdicom makes what all frames share, and one frame as an example. It is given nameless and tiny stand-ins of the source's
slices; patient, study, references and sizes are put in afterwards. So frames of an Enhanced object, one of several volumes in a
file, and headers with faults or holes all go the same way.
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
from ..io.dicom.stack import frame_plane
from ..labels import Structure
from .planes import object_uid, plane_of_structure, source_planes
from .seg_frames import READ_AT_ONCE, append_frames, decimals, frames_of, read_frames
from .study import ALWAYS, Study, add_equipment, add_study, described, device, instances, made_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9000  # added to the source's: behind all series of the scanner
STAND_IN_CLASS = "1.2.840.10008.5.1.4.1.1.2"  # CT Image Storage: any class of one frame would do, none is left in the end
SAME_PLACE_MM = 1e-3
TINY = 8  # rows and columns of a stand-in: a byte a row


def write_seg(prediction: Prediction, study: Study, path: Path) -> None:
    """Write the SEG and read it back.

    Args:
        prediction: of a volume read from DICOM.
        study: of `study_of(prediction.image.source)`.
    Raises: RuntimeError where the written file does not hold the labels, voxel by voxel; UserError where one file cannot.
    """
    planes = source_planes(prediction)
    frames = frames_of(planes, len(prediction.table.structures))
    dataset = _segmentation(prediction, study, planes)
    like = dataset.PerFrameFunctionalGroupsSequence[0]
    del dataset.PerFrameFunctionalGroupsSequence, dataset.PixelData  # the last elements of the file
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = len(frames), *planes.shape[1:3]
    dataset.save_as(path, enforce_file_format=True)
    append_frames(path, frames, planes, study, like)
    verify_seg(path, study, planes)


def verify_seg(path: Path, study: Study, planes: np.ndarray) -> None:
    """Raises: RuntimeError where a frame differs from the plane of the slice that it refers to, or one is missing."""
    from pydicom import dcmread

    slices = study.slices_by_reference()
    file = dcmread(path, defer_size=READ_AT_ONCE)
    shared = file.SharedFunctionalGroupsSequence[0]
    left = set(frames_of(planes, len(file.SegmentSequence)))
    for number, (groups, pixels) in enumerate(read_frames(path, file), start=1):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        k = slices[(source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))]
        segment = (groups if "SegmentIdentificationSequence" in groups else shared).SegmentIdentificationSequence[0]
        position = segment.ReferencedSegmentNumber - 1
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        if np.abs(place - frame_plane(study.headers[k].frame)[0]).max() > SAME_PLACE_MM:
            raise RuntimeError(f"frame {number} of the written SEG does not lie on its source slice")
        if not np.array_equal(pixels, plane_of_structure(planes, k, position)):
            raise RuntimeError(f"frame {number} of the written SEG reads back with other pixels")
        left.discard((position, k))
    if left:
        raise RuntimeError(f"{len(left)} planes are missing in the written SEG")


def _segmentation(prediction: Prediction, study: Study, planes: np.ndarray) -> Dataset:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    uid, number = object_uid(prediction, "SEG"), study.series_number + SERIES_NUMBER
    stand_ins = _stand_ins(study)
    example = np.zeros((len(stand_ins), TINY, TINY), dtype=np.uint8)
    example[0] = 1  # one structure in one slice, so that there is one frame
    dataset = Segmentation(
        source_images=stand_ins,
        pixel_array=example,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(s, k + 1, prediction.provenance) for k, s in enumerate(prediction.table.structures)],
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
    dataset.SegmentsOverlap = "YES" if _overlap(planes) else "NO"
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances(study.headers)
    dataset.SourceImageSequence = _sources(study)
    add_study(dataset, study)
    add_equipment(dataset, prediction.provenance, datetime.now())
    organisation = made_uid("dimensions", uid)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    return dataset


def _overlap(planes: np.ndarray) -> bool:
    return planes.ndim == 4 and any(plane.sum(axis=-1).max() > 1 for plane in planes)


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

    orientation = decimals(_orientation(study))
    spacing = decimals(study.headers[0].frame.pixel_spacing or ())
    (thickness,) = decimals([_thickness_mm(study)])
    found = []
    for k, header in enumerate(study.headers):
        item = Dataset()
        for keyword in ALWAYS:
            setattr(item, keyword, None)
        item.StudyInstanceUID, item.FrameOfReferenceUID = study.study_uid, study.frame_of_reference_uid
        item.SOPClassUID, item.SOPInstanceUID = STAND_IN_CLASS, made_uid("slice", study.series_uid, str(k))
        item.SeriesInstanceUID, item.Modality = study.series_uid, header.frame.modality or "OT"
        item.Rows = item.Columns = TINY
        item.ImageOrientationPatient, item.PixelSpacing, item.SliceThickness = orientation, spacing, thickness
        item.ImagePositionPatient = decimals(header.frame.position or ())
        found.append(item)
    return found


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


def _sources(study: Study) -> list[Dataset]:
    """All of the series' objects, also those without a frame, and of objects with several frames which were segmented."""
    frames: dict[str, list[int]] = {}
    for header in study.headers:
        if header.frame_number is not None:
            frames.setdefault(header.frame.sop_uid, []).append(header.frame_number)
    items = instances(study.headers)
    for item in items:
        if item.ReferencedSOPInstanceUID in frames:
            item.ReferencedFrameNumber = frames[item.ReferencedSOPInstanceUID]
    return items
