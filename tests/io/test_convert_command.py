"""`unet convert` as a user types it."""

from __future__ import annotations

import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_series import noise, save, volume_datasets
from PIL import Image

from pipeline.cli.main import main
from pipeline.errors import UserError
from pipeline.io.read import read_label_volume, read_volume
from pipeline.labels import label_table

RAS = np.diag([1.0, 1.2, 3.0, 1.0])


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = RAS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def array_of(path: Path) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)


def typed(*words: object) -> int:
    return main([str(word) for word in words])


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert typed(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_a_series_becomes_nifti_and_one_line_says_what_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "series")
    assert typed("convert", folder, tmp_path / "new" / "ct.nii.gz") == 0
    out, err = capsys.readouterr()
    assert out == f"8x6x5 voxels of 0.750 x 0.500 x 3.000 mm, CT: {tmp_path / 'new' / 'ct.nii.gz'}\n" and err == ""
    np.testing.assert_array_equal(array_of(tmp_path / "new" / "ct.nii.gz"), noise().transpose(2, 1, 0) - 1000)


def test_a_refusal_is_one_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save([d for k, d in enumerate(volume_datasets(noise())) if k != 2], tmp_path / "series")
    assert "slices are missing" in refusal(capsys, "convert", folder, tmp_path / "ct.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["series"]


def test_a_hole_is_filled_only_where_that_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save([d for k, d in enumerate(volume_datasets(noise())) if k != 2], tmp_path / "series")
    assert typed("convert", folder, tmp_path / "ct.nii.gz", "--accept-irregular") == 0
    out, err = capsys.readouterr()
    assert out.startswith("8x6x5 voxels") and "note: resampled: slices are missing" in err
    kept = [0, 1, 3, 4]
    np.testing.assert_array_equal(array_of(tmp_path / "ct.nii.gz")[..., kept], noise()[kept].transpose(2, 1, 0) - 1000)


def test_an_existing_file_is_replaced_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "series")
    out = tmp_path / "ct.nii.gz"
    out.write_bytes(b"mine")
    assert refusal(capsys, "convert", folder, out) == (
        f"unet: {out}: exists already. Choose another name, or add --overwrite to replace it.\n"
    )
    assert out.read_bytes() == b"mine"
    assert typed("convert", folder, out, "--overwrite") == 0
    assert array_of(out).shape == (8, 6, 5)


def test_the_input_itself_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = nifti(tmp_path / "scan.nii.gz", np.ones((4, 4, 4), dtype=np.int16))
    mask = nifti(tmp_path / "mask.nii.gz", np.ones((4, 4, 4), dtype=np.uint8))
    before = scan.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(scan)
    for words in ((scan, scan), (scan, tmp_path / "link.nii.gz"), (mask, scan, "--like", scan)):
        assert "would replace what is read" in refusal(capsys, "convert", *words, "--overwrite")
    assert scan.read_bytes() == before


@pytest.mark.parametrize(
    ("out", "said"),
    [("ct.nrrd", "does not end in .nii.gz or .nii"), ("folder.nii", "is a folder"), ("file/ct.nii", "(File exists)")],
)
def test_a_place_that_cannot_be_written_is_one_line(out: str, said: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "file").write_text("mine")
    scan = nifti(tmp_path / "scan.nii", np.ones((4, 4, 4), dtype=np.int16))
    assert said in refusal(capsys, "convert", scan, tmp_path / out, "--overwrite")


def test_nifti_is_written_with_both_of_its_geometries(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), None)
    image.set_sform(RAS, code=2)
    nibabel.save(image, tmp_path / "a.nii")
    assert typed("convert", tmp_path / "a.nii", tmp_path / "b.nii.gz") == 0
    written = nibabel.load(tmp_path / "b.nii.gz")
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(written.affine, RAS)


def test_a_picture_needs_the_size_of_its_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / "a.png")
    words = ("convert", tmp_path / "a.png", tmp_path / "a.nii.gz")
    assert refusal(capsys, *words).endswith("how large its pixels are, and NIfTI does. Add --pixel-size MM.\n")
    assert typed(*words, "--pixel-size", "0.25") == 0
    assert "columns are taken to run to the left" in capsys.readouterr().err
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_zooms() == (0.25, 0.25, 0.25)


def test_words_that_do_nothing_here_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = nifti(tmp_path / "scan.nii", np.ones((4, 4, 4), dtype=np.int16))
    series = save(volume_datasets(noise()), tmp_path / "series")
    out = tmp_path / "out.nii"
    assert "--series is for DICOM, and this is NIfTI" in refusal(capsys, "convert", scan, out, "--series", "4")
    assert "--accept-irregular is for DICOM" in refusal(capsys, "convert", scan, out, "--like", scan, "--accept-irregular")
    assert "--pixel-size is for a picture, and this is DICOM" in refusal(capsys, "convert", series, out, "--pixel-size", "nan")
    assert not out.exists()


def test_a_mask_comes_onto_the_grid_of_its_series_and_is_read_from_then_on(tmp_path: Path, capsys) -> None:
    """The message of the reader is the command; typed as it stands, it makes the mask readable."""
    series = save(volume_datasets(noise(5, 6, 8)), tmp_path / "the series")
    fine = np.zeros((16, 12, 10), dtype=np.uint8)  # the same place with voxels half as large, head first
    fine[4:12, 2:10, 2:6] = 2
    affine = np.diag([-0.375, -0.25, -1.5, 1.0])
    affine[:3, 3] = (100 + 0.1875, 120 + 0.125, 40 + 12.75)  # of the series: -100, -120, 40 in LPS, 5 slices 3 mm apart
    mask = nifti(tmp_path / "fine mask.nii.gz", fine, affine)
    image, table = read_volume(series), label_table({"organ": 2})
    with pytest.raises(UserError) as caught:
        read_label_volume(mask, like=image, table=table)
    command = str(caught.value).partition("type: ")[2]
    made = tmp_path / "made.nii.gz"
    words = [str(made) if word == "OUT.nii.gz" else word for word in shlex.split(command)]
    assert words == ["unet", "convert", str(mask), str(made), "--like", str(series), "--series", "11111111"]
    assert typed(*words[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"8x6x5 voxels of 0.750 x 0.500 x 3.000 mm, labels: {made}"
    assert lines[1].split() == ["voxels", "before", "ml", "outside,", "ml", "voxels", "after", "ml"]
    assert lines[2].split() == ["label", "2", "256", "0.036", "0", "32", "0.036"]  # 8 x 8 x 4 voxels become 4 x 4 x 2
    wanted = np.zeros((8, 6, 5), dtype=np.uint8)
    wanted[2:6, 1:5, 2:4] = 2
    np.testing.assert_array_equal(read_label_volume(made, like=image, table=table).array, wanted)


def test_a_mask_for_a_tilted_series_lies_slice_by_slice_where_the_anatomy_does(tmp_path: Path, capsys) -> None:
    series = save(volume_datasets(noise(6, 10, 8), step=(0, 0.9, 3.0)), tmp_path / "tilted")  # 0.5 mm rows: 1.8 a slice
    image, table = read_volume(series), label_table({"organ": 1})
    assert image.source.geometry is not None and image.source.geometry.kind == "sheared"
    points = np.indices(image.shape).reshape(3, -1).T @ image.affine[:3, :3].T + image.affine[:3, 3]
    box = np.zeros((60, 60, 60), dtype=np.uint8)
    affine = np.diag([0.4, 0.4, 0.4, 1.0])
    affine[:3, 3] = points.mean(axis=0) - 30 * 0.4 + (0.13, 0.07, 0.11)  # no centre of the series lies on a face of a voxel
    box[26:34, 24:36, 20:38] = 1
    low, high = affine[:3, 3] + 0.4 * (np.array([26, 24, 20]) - 0.5), affine[:3, 3] + 0.4 * (np.array([34, 36, 38]) - 0.5)
    mask, made = nifti(tmp_path / "mask.nii", box, affine), tmp_path / "made.nii.gz"
    assert typed("convert", mask, made, "--like", series) == 0
    assert typed("convert", series, tmp_path / "image.nii.gz") == 0
    np.testing.assert_allclose(nibabel.load(made).affine, nibabel.load(tmp_path / "image.nii.gz").affine)
    assert array_of(made).shape == array_of(tmp_path / "image.nii.gz").shape
    inside = ((points > low) & (points < high)).all(axis=1).reshape(image.shape)  # by hand: the centre lies in the box
    assert 20 < inside.sum() < inside.size / 2
    np.testing.assert_array_equal(read_label_volume(made, like=image, table=table).array == 1, inside)


def test_what_is_no_mask_or_has_no_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = nifti(tmp_path / "good.nii", np.ones((4, 4, 4), dtype=np.uint8))
    half = nifti(tmp_path / "half.nii", np.full((4, 4, 4), 0.5, dtype=np.float32))
    grey = nifti(tmp_path / "grey.nii", np.arange(1000, dtype=np.int16).reshape(10, 10, 10))
    far = nifti(
        tmp_path / "far.nii",
        np.ones((4, 4, 4), dtype=np.uint8),
        RAS @ np.array(nibabel.affines.from_matvec(np.eye(3), [9, 0, 0])),
    )
    unplaced = nibabel.Nifti1Image(np.ones((4, 4, 4), dtype=np.uint8), None)
    unplaced.header.set_zooms((1, 1, 1))
    nibabel.save(unplaced, tmp_path / "unplaced.nii")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "a.png")
    series = save(volume_datasets(noise()), tmp_path / "series")
    said = {
        (half, good): "64 voxels of the mask hold fractions, e.g. 0.5",
        (grey, good): "more than 256 different values, from 0 to",
        (far, good): "only 0.0% of the labelled voxels (0 of 0.2304 ml) lie in good; 50% are needed",
        (tmp_path / "unplaced.nii", good): "neither sform nor qform is set: where it lies in the patient is unknown",
        (good, tmp_path / "unplaced.nii"): "neither sform nor qform is set",
        (good, tmp_path / "a.png"): "a picture has no place in mm",
        (series, good): "--like puts NIfTI masks onto another grid, and this is none",
        (good, tmp_path / "nowhere"): "there is no such file or folder",
    }
    for (mask, like), words in said.items():
        assert words in refusal(capsys, "convert", mask, tmp_path / "out.nii.gz", "--like", like)
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_real_mask_drawn_on_mr_lies_on_the_ct_of_its_patient_and_on_nobody_elses(
    shared: Path, tmp_path: Path, capsys
) -> None:
    sarcoma, out = shared / "data" / "sarcoma", tmp_path / "out.nii.gz"
    ct = sarcoma / "dicom" / "STS_002" / "CT" / "image"
    assert typed("convert", sarcoma / "nifti_truth" / "STS_002_MR_T1_mask.nii.gz", out, "--like", ct) == 0
    np.testing.assert_array_equal(array_of(out) > 0, array_of(sarcoma / "nifti_truth" / "STS_002_CT_mask.nii.gz") > 0)
    capsys.readouterr()
    other = sarcoma / "nifti_truth" / "STS_008_MR_T1_mask.nii.gz"
    said = refusal(capsys, "convert", other, tmp_path / "other.nii.gz", "--like", ct)
    assert "only 0.0% of the labelled voxels (0 of 27.64 ml) lie in series3_35533244" in said
