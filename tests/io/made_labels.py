"""Writes RTSTRUCT and SEG objects for the tests, as planning systems do: with pydicom and highdicom, none of our own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from made_series import FRAME_OF_REFERENCE, SERIES
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

ALWAYS = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName")


def rtstruct(
    path: Path,
    contours: Mapping[str, Sequence[Sequence[float]]],
    *,
    series: str = SERIES,
    frame_of_reference: str = FRAME_OF_REFERENCE,
    kind: str = "CLOSED_PLANAR",
    uid: str = "",
) -> Path:
    """`contours`: name → one list x, y, z, x, y, z, ... (LPS, mm) a contour."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", uid or generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.FrameOfReferenceUID = "RTSTRUCT", frame_of_reference
    referenced, study, place = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence = [referenced]
    place.FrameOfReferenceUID, place.RTReferencedStudySequence = frame_of_reference, [study]
    dataset.ReferencedFrameOfReferenceSequence = [place]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, parts) in enumerate(contours.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber, drawn.ContourSequence = number, name, number, []
        for part in parts:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(part) // 3
            contour.ContourData = [f"{v:.4f}" for v in part]
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def segmentation(
    path: Path,
    sources: Sequence[Dataset],
    pixels: np.ndarray,
    names: Sequence[str],
    *,
    kind: str = "BINARY",
    uid: str = "",
    **settings: object,
) -> Path:
    """`pixels` (slices, rows, columns): numbers of the names from 1, or fractions of the first; `settings` are highdicom's."""
    for source in sources:
        for keyword in ALWAYS:
            setattr(source, keyword, None)
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(names, start=1)
    ]
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=uid or generate_uid(),
        series_number=100,
        sop_instance_uid=f"{uid}.1" if uid else generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **settings,
    ).save_as(path)
    return path
