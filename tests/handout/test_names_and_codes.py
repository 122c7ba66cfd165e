"""Names, values, colours and codes are the same in every format, and what DICOM wants of study and references is there."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_predictions import TABLE, enhanced, handed_out, pixels, series
from made_series import FRAME_OF_REFERENCE, SERIES, save, volume_datasets
from pydicom import Dataset, dcmread
from skimage.color import lab2rgb

from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import chosen_formats
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.io.read import read_volume

DATES = {"DA", "TM", "DT"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    return handed_out(series("plain", made / "in")[0], made / "out")[1]


def test_names_values_and_colours_are_the_same_everywhere(written: Path) -> None:
    truth = [(s.name, s.value, s.colour) for s in TABLE.structures]
    said = json.loads((written / "mask.json").read_text(encoding="utf-8"))["labels"]["structures"]
    assert [(s["name"], s["value"], tuple(s["colour"])) for s in said] == truth

    seg = dcmread(written / "mask.seg.dcm")
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    by_seg = [(s.SegmentLabel, int(s.SegmentDescription.removeprefix("label value ")), rgb(s)) for s in seg.SegmentSequence]
    assert by_seg == truth

    rtstruct = dcmread(written / "mask.rtstruct.dcm")
    colours = {item.ReferencedROINumber: tuple(map(int, item.ROIDisplayColor)) for item in rtstruct.ROIContourSequence}
    by_rtstruct = [
        (item.ROIName, int(item.ROIDescription.removeprefix("label value ")), colours[item.ROINumber])
        for item in rtstruct.StructureSetROISequence
    ]
    assert by_rtstruct == truth

    nrrd = sitk.ReadImage(str(written / "mask.seg.nrrd"))
    fields = [[nrrd.GetMetaData(f"Segment{k}_{field}") for field in ("Name", "LabelValue", "Color")] for k in range(len(truth))]
    by_slicer = [(n, int(v), tuple(round(float(part) * 255) for part in colour.split())) for n, v, colour in fields]
    assert by_slicer == truth

    rows = re.findall(
        r'^ *(\d+) +(\d+) +(\d+) +(\d+) +1 +1 +1 +"([^"]*)"$', (written / "mask.labels.txt").read_text("utf-8"), re.M
    )
    by_itksnap = [(name, int(value), (int(r), int(g), int(b))) for value, r, g, b, name in rows]
    assert by_itksnap == [(name.replace('"', "'"), value, colour) for name, value, colour in truth]


def rgb(segment: Dataset) -> tuple[int, int, int]:
    """The recommended display colour as scikit-image sees it (PS3.3 C.10.7.1.1: CIELab scaled to 16 bits)."""
    lightness, a, b = (value / 65535 for value in segment.RecommendedDisplayCIELabValue)
    red, green, blue = np.rint(lab2rgb([lightness * 100, a * 255 - 128, b * 255 - 128]) * 255).astype(int).tolist()
    return red, green, blue


def test_segments_have_category_type_and_side(written: Path) -> None:
    found = {}
    for item in dcmread(written / "mask.seg.dcm").SegmentSequence:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        category = item.SegmentedPropertyCategoryCodeSequence[0]
        sides = [part.CodeMeaning for part in kind.get("SegmentedPropertyTypeModifierCodeSequence", ())]
        found[item.SegmentLabel] = (category.CodeValue, kind.CodeValue, kind.CodingSchemeDesignator, sides)
    assert found == {
        'Größe "α"': ("85756007", "85756007", "SCT", []),  # no code: Tissue
        "kidney left": ("91723000", "64033007", "SCT", ["Left"]),
        "tumour": ("49755003", "108369006", "SCT", []),
        "absent": ("85756007", "85756007", "SCT", []),
    }


@pytest.mark.parametrize("file", ["mask.seg.dcm", "mask.rtstruct.dcm"])
def test_every_source_slice_is_referred_to_and_the_frame_of_reference_kept(file: str, written: Path) -> None:
    dataset = dcmread(written / file)
    assert dataset.FrameOfReferenceUID == FRAME_OF_REFERENCE
    if file == "mask.seg.dcm":
        referenced, instances = dataset.ReferencedSeriesSequence[0], "ReferencedInstanceSequence"
    else:
        place = dataset.ReferencedFrameOfReferenceSequence[0]
        referenced, instances = place.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0], "ContourImageSequence"
    assert referenced.SeriesInstanceUID == SERIES
    assert [item.ReferencedSOPInstanceUID for item in referenced[instances]] == [f"{SERIES}.{k}" for k in range(1, 6)]
    assert dataset.SeriesInstanceUID != SERIES
    assert (dataset.PatientID, dataset.PatientName) == ("Secret^Id", "Secret^Name")  # the archive files it by them


def test_frames_of_an_enhanced_object_are_referred_to_by_number(tmp_path: Path) -> None:
    source = enhanced(2, shared=False)
    times = [group.FrameContentSequence[0].TemporalPositionIndex for group in source.PerFrameFunctionalGroupsSequence]
    written = handed_out(save([source], tmp_path / "in"), tmp_path / "out", volume="2")[1]
    ours = [number for number, time in enumerate(times, start=1) if time == 2]
    seg = dcmread(written / "mask.seg.dcm")
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    assert sorted(seg.SourceImageSequence[0].ReferencedFrameNumber) == ours
    frames = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in seg.PerFrameFunctionalGroupsSequence]
    assert {int(item.ReferencedFrameNumber) for item in frames} == set(ours)
    assert {item.ReferencedSOPInstanceUID for item in frames} == {source.SOPInstanceUID}
    contours = [c for roi in dcmread(written / "mask.rtstruct.dcm").ROIContourSequence for c in roi.get("ContourSequence", ())]
    assert {int(c.ContourImageSequence[0].ReferencedFrameNumber) for c in contours} == set(ours)


def test_faulty_values_of_the_source_are_left_empty_and_umlauts_arrive(tmp_path: Path) -> None:
    written = handed_out(series("faulty header", tmp_path / "in")[0], tmp_path / "out")[1]
    for file in ("mask.seg.dcm", "mask.rtstruct.dcm"):
        dataset = dcmread(written / file)
        assert str(dataset.PatientName) == "Müßig^Jörg"
        assert [dataset[keyword].value for keyword in ("StudyID", "PatientBirthDate", "PatientSex")] == ["", "", ""]
        assert "PatientAge" not in dataset


def test_uids_are_kept_as_they_are_for_they_are_the_link(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {"series": "1.2.03.5", "FrameOfReferenceUID": "1.2.0777", "StudyInstanceUID": "1.2.x"}
        folder = save(volume_datasets(pixels(), **odd), tmp_path / "in")
    written = handed_out(folder, tmp_path / "out")[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = dcmread(written / "mask.seg.dcm")
        assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.x", "1.2.0777")
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.03.5"


def test_coordinates_have_16_characters_at_most(tmp_path: Path) -> None:
    far = volume_datasets(pixels(), first=(-4321.123457, 8765.432111, 9876.54321))
    written = handed_out(save(far, tmp_path / "in"), tmp_path / "out")[1]
    for roi in dcmread(written / "mask.rtstruct.dcm").ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            assert max(map(len, contour.get_item("ContourData").value.decode().split("\\"))) <= 16


def test_an_outline_of_more_than_64_kilobytes_is_written_and_read(tmp_path: Path) -> None:
    """As a comb: more corners than a 16-bit length can hold."""
    datasets = volume_datasets(np.zeros((1, 100, 1400), np.uint16))
    image = read_volume(save(datasets, tmp_path / "in"))
    array = np.zeros(image.shape, np.uint8)
    array[:, 50:60], array[::2, 10:60] = 3, 3
    labels = replace(image, array=array)
    prediction = Prediction(image=image, labels=labels, table=TABLE, structures=structure_volumes(labels, TABLE))
    formats = chosen_formats({"rtstruct": True}, image, TABLE)
    written = write_prediction(prediction, tmp_path / "out", formats=formats)
    (contour,) = dcmread(written / "mask.rtstruct.dcm").ROIContourSequence[0].ContourSequence
    assert contour["ContourData"].VR == "DS"
    assert contour.NumberOfContourPoints == len(contour.ContourData) // 3 == 4 * 700 + 2  # 700 teeth, one side is flush


def test_equal_predictions_become_equal_objects_but_for_their_dates(tmp_path: Path) -> None:
    folder, _ = series("plain", tmp_path / "in")
    first, second = (handed_out(folder, tmp_path / out)[1] for out in "ab")
    for file in ("mask.nii.gz", "mask.seg.nrrd", "mask.labels.txt", "overlay.png"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    for file in ("mask.seg.dcm", "mask.rtstruct.dcm"):
        datasets = [dcmread(out / file) for out in (first, second)]
        for dataset in datasets:
            dataset.walk(lambda place, element: place.pop(element.tag) if element.VR in DATES else None)
        assert datasets[0] == datasets[1], file
    other = handed_out(folder, tmp_path / "c", empty=True)[1]
    assert dcmread(other / "mask.seg.dcm").SOPInstanceUID != dcmread(first / "mask.seg.dcm").SOPInstanceUID
