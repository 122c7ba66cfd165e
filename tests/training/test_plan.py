"""The planned experiment fits the data: plane, pixels, intensities, padding, patch and width, each with its reason."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.data.manifest import Case, Manifest
from pipeline.errors import UserError
from pipeline.labels import LabelTable, label_table
from pipeline.training.experiment import experiment_yaml, read_experiment
from pipeline.training.plan import Plan, plan

ONE = label_table({"organ": 1})
RAS = np.eye(3)
LIP = np.array(
    [[-1, 0, 0], [0, 0, -1], [0, -1, 0]], dtype=float
)  # a coronal series: columns to the left, rows down, slices back


def write_scans(
    folder: Path,
    *,
    shape: tuple[int, int, int] = (40, 36, 5),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 4.0),
    directions: np.ndarray = RAS,
    modality: str = "MR",
    table: LabelTable = ONE,
    count: int = 2,
) -> Manifest:
    """Scans with values around 0 and an organ of 40 to 60 in one corner."""
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    random = np.random.default_rng(1)
    cases = []
    for number in range(count):
        label = np.zeros((*shape, 2) if table.overlapping else shape, dtype=np.uint8)
        label[:6, :6, :2] = 1
        image = random.integers(-1000, 0, shape).astype(np.int16)
        image[:6, :6, :2] = random.integers(40, 61, (6, 6, 2))
        for name, array in (("image", image), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}{number}.nii")
        case = Case(
            case=f"case{number}",
            image=(f"image{number}.nii",),
            label=(f"label{number}.nii",),
            patient_id=str(number),
            fold=number % 2,
            shape=shape,
            spacing_mm=spacing_mm,
            modality=modality,
        )
        cases.append(case)
    return Manifest(name="made", data_root=folder, table=table, cases=tuple(cases))


def planned(manifest: Manifest, *, budget_s: float | None = None) -> Plan:
    return plan(manifest, manifest.cases, budget_s=budget_s, on_gpu=False)


def test_ct_is_scaled_by_the_structures_own_values(tmp_path):
    """Those of the organ: whole numbers from 40 to 60, drawn evenly; all others are below 0."""
    normalisation = planned(write_scans(tmp_path, modality="CT")).experiment.preprocessing.normalisation
    assert normalisation.kind == "foreground"
    assert (normalisation.low, normalisation.high) == (40, 60)
    assert normalisation.mean == pytest.approx(50, abs=2)
    assert normalisation.deviation == pytest.approx(
        6.06, abs=0.7
    )  # of 21 equally frequent whole numbers: sqrt((21^2 - 1) / 12)


@pytest.mark.parametrize("kind", ["all alike", "none"])
def test_ct_whose_structures_say_nothing_gets_a_window(tmp_path, kind):
    manifest = write_scans(tmp_path, modality="CT")
    for case in manifest.cases:
        place = tmp_path / (case.image[0] if kind == "all alike" else case.label[0])
        old = nibabel.load(place)
        nibabel.save(nibabel.Nifti1Image(np.full(old.shape, 50 if kind == "all alike" else 0, np.int16), old.affine), place)
    normalisation = planned(manifest).experiment.preprocessing.normalisation
    assert (normalisation.kind, normalisation.low, normalisation.high) == ("window", -160, 240)


def test_mr_is_scaled_by_each_scans_own_mean(tmp_path):
    assert planned(write_scans(tmp_path, modality="MR")).experiment.preprocessing.normalisation.kind == "zscore"


def test_mr_gets_a_bias_field_and_what_is_scaled_to_a_range_weaker_noise(tmp_path):
    mr, ct, picture = (
        planned(write_scans(tmp_path, modality=modality)).experiment.augmentation for modality in ("MR", "CT", "DX")
    )
    assert (mr.bias_field_probability, ct.bias_field_probability) == (0.15, 0)
    assert (ct.noise_deviation, ct.brightness_shift) == (mr.noise_deviation, mr.brightness_shift)
    assert (picture.noise_deviation, picture.brightness_shift) == (mr.noise_deviation / 2, mr.brightness_shift / 2)
    assert mr.flips == ct.flips == ()


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "neighbours"),
    [
        ((40, 36, 9), (1.0, 1.0, 1.0), 4),
        ((40, 36, 5), (1.0, 1.0, 1.0), 2),  # no more than there are on each side of the middle
        ((40, 36, 9), (1.0, 1.0, 2.9), 2),
        ((40, 36, 9), (0.8, 0.8, 4.0), 1),  # 5 pixels apart
        ((40, 36, 9), (0.8, 0.8, 5.0), 0),  # 6.25
        ((40, 36, 2), (1.0, 1.0, 1.0), 0),  # of two slices, one is at each end
    ],
)
def test_near_slices_go_in_as_neighbours(tmp_path, shape, spacing_mm, neighbours):
    made = planned(write_scans(tmp_path, shape=shape, spacing_mm=spacing_mm))
    assert made.experiment.preprocessing.neighbours == neighbours
    assert "preprocessing.neighbours" in made.reasons


def test_what_the_user_says_decides_what_follows_from_it(tmp_path):
    """Coronal slices of an axial scan: 40 columns of 1 mm, 9 rows of 4 mm; each 2 mm in the end."""
    manifest = write_scans(tmp_path, shape=(200, 36, 9))
    said = {"preprocessing.plane": "coronal", "preprocessing.spacing_mm": 2.0}
    made = plan(manifest, manifest.cases, budget_s=None, on_gpu=False, said=said)
    assert (made.experiment.preprocessing.plane, made.experiment.preprocessing.spacing_mm) == ("coronal", 2.0)
    assert made.experiment.patch == (32, 100)
    assert "preprocessing.plane" not in made.reasons
    large = write_scans(tmp_path, shape=(220, 230, 2))
    assert planned(large).experiment.network.padding == "valid"
    same = plan(large, large.cases, budget_s=None, on_gpu=False, said={"network.padding": "same"}).experiment
    assert (same.network.padding, same.patch) == ("same", (240, 224))
    assert same.problems() == []


def test_pictures_of_things_with_a_side_are_not_mirrored(tmp_path):
    """Two lungs on an X-ray: with the plane as stored, nobody knows which axis runs from left to right."""
    lungs = label_table({"left lung": 1, "right lung": 2})
    manifest = write_scans(tmp_path, modality="picture", table=lungs)
    assert planned(manifest).experiment.augmentation.flips == ()


def test_pictures_keep_their_pixels_are_scaled_by_percentiles_and_may_be_mirrored(tmp_path):
    for name, value in (("image.png", 90), ("label.png", 1)):
        Image.fromarray(np.full((50, 60), value, dtype=np.uint8)).save(tmp_path / name)
    case = Case(
        case="a",
        image=("image.png",),
        label=("label.png",),
        patient_id="a",
        fold=0,
        shape=(60, 50, 1),
        spacing_mm=(1.0, 1.0, 1.0),
        spacing_known=False,
        modality="picture",
    )
    experiment = planned(Manifest(name="made", data_root=tmp_path, table=ONE, cases=(case,))).experiment
    assert experiment.preprocessing.plane == "stored"
    assert experiment.preprocessing.spacing_mm == 0
    assert experiment.preprocessing.normalisation.kind == "percentiles"
    assert experiment.augmentation.flips == ("rows", "columns")
    assert experiment.patch == (56, 64)


@pytest.mark.parametrize(
    ("plane", "directions", "shape", "spacing_mm", "patch"),
    [
        ("axial", RAS, (200, 300, 8), (0.8, 0.8, 4.0), (380, 380)),
        ("sagittal", RAS, (8, 300, 200), (4.0, 0.8, 0.8), (380, 380)),
        ("coronal", LIP, (200, 300, 8), (0.8, 0.8, 4.0), (380, 380)),
        ("axial", RAS, (60, 90, 50), (1.0, 1.0, 4.0), (96, 64)),
        ("coronal", LIP, (40, 70, 8), (0.8, 0.8, 4.0), (72, 40)),
    ],
)
def test_slices_lie_in_the_plane_in_which_they_were_acquired(tmp_path, plane, directions, shape, spacing_mm, patch):
    manifest = write_scans(tmp_path, directions=directions, shape=shape, spacing_mm=spacing_mm)
    experiment = planned(manifest, budget_s=600).experiment
    assert experiment.preprocessing.plane == plane
    assert experiment.preprocessing.spacing_mm == pytest.approx(min(spacing_mm))
    assert experiment.patch == patch
    assert experiment.network.padding == ("valid" if min(patch) > 300 else "same")


@pytest.mark.parametrize(("plane", "directions"), [("axial", RAS), ("coronal", LIP)])
def test_slices_closer_than_their_pixels_are_slices_all_the_same(tmp_path, plane, directions):
    """Two axes are the coarsest then; the one that differs lies across the slices."""
    manifest = write_scans(tmp_path, directions=directions, shape=(60, 70, 9), spacing_mm=(2.0, 2.0, 1.0))
    experiment = planned(manifest).experiment
    assert experiment.preprocessing.plane == plane
    assert experiment.preprocessing.spacing_mm == 2.0
    assert experiment.patch == (72, 64)


@pytest.mark.parametrize(
    ("organ", "plane"),
    [((4, 12, 10), "sagittal"), ((12, 4, 10), "coronal"), ((12, 10, 4), "axial"), ((12, 12, 12), "axial"), (None, "axial")],
)
def test_cubes_are_sliced_across_the_structures_shortest_side(tmp_path, organ, plane):
    manifest = write_scans(tmp_path, shape=(30, 30, 30), spacing_mm=(1.0, 1.0, 1.0))
    for case in manifest.cases:
        label = np.zeros((30, 30, 30), np.uint8)
        if organ:
            label[tuple(slice(5, 5 + side) for side in organ)] = 1
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), tmp_path / case.label[0])
    assert planned(manifest).experiment.preprocessing.plane == plane


@pytest.mark.parametrize(
    ("sides", "depth", "patch"),
    [((40, 53), 3, (56, 40)), ((80, 96), 4, (96, 80)), ((20, 20), 2, (32, 32)), ((64, 64), 3, (64, 64))],
)
def test_small_slices_get_fewer_poolings(tmp_path, sides, depth, patch):
    """At least 5 px are left of the shorter side: 40 / 8 = 5, 80 / 16 = 5, 32 / 4 = 8."""
    experiment = planned(write_scans(tmp_path, shape=(*sides, 4))).experiment
    assert (experiment.network.depth, experiment.patch) == (depth, patch)
    assert experiment.problems() == []


def test_the_papers_tile_where_the_time_allows_it(tmp_path):
    manifest = write_scans(tmp_path, shape=(512, 512, 2))
    assert planned(manifest).experiment.patch == (572, 572)
    assert planned(manifest, budget_s=600).experiment.patch == (380, 380)


def test_less_time_makes_a_narrower_network(tmp_path):
    manifest = write_scans(tmp_path, shape=(100, 100, 5))
    budgets_s = [10 * 4**power for power in range(10)]  # to 30 days: where each width begins depends on the machine
    widths = [planned(manifest, budget_s=budget_s).experiment.network.width for budget_s in budgets_s]
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (16, 64)
    assert len(set(widths)) >= 3


def test_overlapping_structures_get_a_sigmoid_head(tmp_path):
    manifest = write_scans(tmp_path, table=label_table({"organ": 1, "part": 2}, overlapping=True))
    experiment = planned(manifest).experiment
    assert experiment.network.head == "sigmoid"
    experiment.check_fits(manifest.table)


def test_only_some_of_many_cases_are_read_but_from_all_over_the_list(tmp_path):
    manifest = write_scans(tmp_path, count=25)
    for number in (1, 2, 4, 5, 23):
        (tmp_path / f"image{number}.nii").unlink()  # every third is looked at
    assert planned(manifest).experiment.preprocessing.plane == "axial"


def test_every_reason_belongs_to_a_setting_and_stands_beside_it_as_a_comment(tmp_path):
    made = planned(write_scans(tmp_path, modality="CT"))
    text = experiment_yaml(made.experiment, made.reasons)
    for name, reason in made.reasons.items():
        place = asdict(made.experiment)
        for part in name.split("."):
            place = place[part]  # a KeyError names a reason without a setting
        line = next(line for line in text.splitlines() if f"  # {reason}" in line)
        assert line.strip().startswith(f"{name.split('.')[-1]}: ")
    assert "kind: foreground  # CT: Hounsfield units mean the same in every scan" in text


def test_a_planned_experiment_is_a_valid_one_and_can_be_edited(tmp_path):
    made = planned(write_scans(tmp_path, shape=(220, 230, 5)))
    assert made.experiment.problems() == []
    path = tmp_path / "experiment.yaml"
    text = experiment_yaml(made.experiment, made.reasons)
    path.write_text(text, encoding="utf-8")
    assert read_experiment(path) == made.experiment
    path.write_text(text.replace("padding: valid", "padding: same").replace("epochs: 100", "epochs: 7"), encoding="utf-8")
    with pytest.raises(UserError, match=r"patch: an input side of \d+ px does not fit 4 poolings with padding same"):
        read_experiment(path)  # the planned patch is one for valid convolutions
    edited = path.read_text(encoding="utf-8").replace(f"patch: {list(made.experiment.patch)}", "patch: [224, 224]")
    path.write_text(edited, encoding="utf-8")
    assert (read_experiment(path).network.padding, read_experiment(path).epochs) == ("same", 7)
