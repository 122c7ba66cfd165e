"""Series of every kind with made-up labels on them, and what independent readers find in the files that are handed out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from made_series import noise, save, volume_datasets
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import chosen_formats
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.io.read import read_volume
from pipeline.io.volume import Volume
from pipeline.labels import LabelTable, label_table

TABLE = label_table({'Größe "α"': 3, "kidney left": 7, "tumour": 9, "absent": 200})
ALL = {"seg": None, "rtstruct": True, "slicer": True, "itksnap": True}
SIZE = (5, 18, 22)  # slices, rows, columns
OBLIQUE = [0.8, 0.6, 0.0, -0.48, 0.64, 0.6]  # its normal is (0.36, -0.48, 0.8)
ENHANCED_MR = UID("1.2.840.10008.5.1.4.1.1.4.1")


def labelled(image: Volume, table: LabelTable = TABLE, *, empty: bool = False) -> Prediction:
    """A ring with a hole, single pixels that touch at corners, structures that touch, a border, slices without anything."""
    columns, rows, slices = image.shape
    array = np.full(image.shape, table.background, dtype=np.uint8)
    if not empty:
        first, second, third = table.values[:3]
        array[3:14, 4:14, : max(1, slices - 1)] = first
        array[6:9, 7:10, :1] = table.background
        array[5, 5, 0] = array[6, 6, 0] = table.background
        array[10:13, 8:12, : max(1, slices // 2)] = second
        array[columns - 3 :, rows - 2 :, slices - 1] = third
        array[0, 0, 0] = array[1, 1, 0] = array[2, 0, 0] = third
    labels = replace(image, array=array)
    facts = {"bundle": "made", "bundle_version": "1.0.0", "bundle_sha256": "ab" * 32}
    found = structure_volumes(labels, table)
    notices = image.source.notices
    return Prediction(image=image, labels=labels, table=table, structures=found, notices=notices, provenance=facts)


def handed_out(folder: Path, out: Path, *, empty: bool = False, **reading: object) -> tuple[Prediction, Path]:
    prediction = labelled(read_volume(folder, **reading), empty=empty)
    formats = chosen_formats(ALL, prediction.image, prediction.table)
    return prediction, write_prediction(prediction, out, formats=formats)


def pixels() -> np.ndarray:
    return noise(*SIZE)


def oblique_series() -> list[Dataset]:
    step = 2.5 * np.array([0.36, -0.48, 0.8])
    return volume_datasets(pixels(), first=(-31.25, 17.5, 201.0), step=step, ImageOrientationPatient=OBLIQUE)


def jittered_series() -> list[Dataset]:
    datasets = volume_datasets(pixels())
    random = np.random.default_rng(3)
    for dataset in datasets:
        turn, moved = random.normal(0, 2e-4), random.normal(0, 0.005, 3)
        c, s = float(np.cos(turn).round(8)), float(np.sin(turn).round(8))
        dataset.ImageOrientationPatient = [c, s, 0, -s, c, 0]
        dataset.ImagePositionPatient = np.round(np.array(dataset.ImagePositionPatient, dtype=float) + moved, 4).tolist()
    return datasets


def anonymous_series() -> list[Dataset]:
    datasets = volume_datasets(pixels(), PatientID=None, PatientName=None, FrameOfReferenceUID=None, SliceThickness=None)
    return datasets


def faulty_series() -> list[Dataset]:
    """As hospitals have them."""
    datasets = volume_datasets(pixels(), SpecificCharacterSet="ISO_IR 100", PatientName="Müßig^Jörg")
    for dataset in datasets:
        dataset.PatientAge, dataset.PatientSex = "0Y", "W"
        dataset.StudyID, dataset.PatientBirthDate = "a study ID that is too long", "19700230"
    return datasets


def enhanced(volumes: int, *, shared: bool) -> Dataset:
    """One Enhanced MR object with several time points, its frames in an order of their own."""
    first = volume_datasets(pixels(), SOPClassUID=ENHANCED_MR, Modality="MR")
    dataset = copy.deepcopy(first[0])
    placed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    for keyword in (*placed, "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, keyword)
    order = np.random.default_rng(1).permutation(volumes * len(first))
    common = Dataset()
    frames = []
    for number in order:
        time, k = divmod(int(number), len(first))
        source, group = first[k], Dataset()
        content, place, turn, measures = Dataset(), Dataset(), Dataset(), Dataset()
        content.TemporalPositionIndex, content.StackID, content.InStackPositionNumber = time + 1, "1", k + 1
        place.ImagePositionPatient = source.ImagePositionPatient
        turn.ImageOrientationPatient = source.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = source.PixelSpacing, source.SliceThickness
        group.FrameContentSequence, group.PlanePositionSequence = [content], [place]
        target = common if shared else group
        target.PlaneOrientationSequence, target.PixelMeasuresSequence = [turn], [measures]
        frames.append(group)
    dataset.SharedFunctionalGroupsSequence = [common]
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
    stored = [np.roll(pixels(), time, axis=2)[k] for time, k in (divmod(int(n), len(first)) for n in order)]
    dataset.PixelData = np.stack(stored).astype("<u2").tobytes()
    return dataset


# kind → (data sets, how to read them)
SERIES: dict[str, tuple[Callable[[], list[Dataset]], dict[str, object]]] = {
    "plain": (lambda: volume_datasets(pixels()), {}),
    "against the normal": (lambda: volume_datasets(pixels())[::-1], {}),
    "oblique": (oblique_series, {}),
    "tilted": (lambda: volume_datasets(pixels(), step=(0, 1.1, 4.0)), {}),
    "tilted the other way": (lambda: volume_datasets(pixels(), step=(-0.6, -0.9, 4.0)), {}),
    "one slice": (lambda: volume_datasets(pixels())[:1], {}),
    "jittered": (jittered_series, {}),
    "anonymous": (anonymous_series, {}),
    "faulty header": (faulty_series, {}),
    "enhanced": (lambda: [enhanced(1, shared=True)], {}),
    "enhanced, groups a frame, second of two volumes": (lambda: [enhanced(2, shared=False)], {"volume": "2"}),
}


def series(kind: str, folder: Path) -> tuple[Path, dict[str, object]]:
    make, reading = SERIES[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of the faults that are put in on purpose
        return save(make(), folder), reading


def seg_masks(path: Path, affine: np.ndarray, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Segment label → bool (columns, rows, slices), every pixel put at its own place in mm. Reads with pydicom alone."""
    dataset = dcmread(path)
    found = {item.SegmentLabel: np.zeros(shape, dtype=bool) for item in dataset.SegmentSequence}
    names = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        x, y = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
        between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        row, column = np.nonzero(frame)
        first = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        points = first + column[:, None] * between_columns * x + row[:, None] * between_rows * y
        segment = (groups if "SegmentIdentificationSequence" in groups else shared).SegmentIdentificationSequence[0]
        found[names[segment.ReferencedSegmentNumber]][voxels_at(points, affine)] = True
    return found


def rtstruct_masks(path: Path, affine: np.ndarray, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """ROI name → bool (columns, rows, slices): every contour filled by matplotlib, and united with the others."""
    dataset = dcmread(path)
    names = {item.ROINumber: item.ROIName for item in dataset.StructureSetROISequence}
    found = {name: np.zeros(shape, dtype=bool) for name in names.values()}
    column, row = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            index = indices(points, affine)
            k = round(float(index[:, 2].mean()))
            assert np.abs(index[:, 2] - k).max() < 0.06
            polygon = Polygon(np.vstack([index[:, :2], index[:1, :2]]), closed=True)
            inside = polygon.contains_points(np.stack([column.ravel(), row.ravel()], axis=1)).reshape(shape[:2])
            found[names[roi.ReferencedROINumber]][:, :, k] |= inside
    return found


def indices(points_lps: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(points, 3): voxel indices with fractions."""
    return nibabel.affines.apply_affine(np.linalg.inv(affine), points_lps * (-1, -1, 1))


def voxels_at(points_lps: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, ...]:
    index = indices(points_lps, affine)
    assert np.abs(index - np.rint(index)).max(initial=0) < 0.12, "pixels do not lie on voxels"
    return tuple(np.rint(index).astype(int).T)
