"""Flips and bias fields are refused where they would teach something false, with the words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.augmentation import Augmentation
from pipeline.data.augmentation_fit import check_augmentation, swaps_of
from pipeline.data.manifest import Case, Manifest
from pipeline.errors import UserError
from pipeline.labels import LabelTable, label_table

KIDNEYS = label_table({"KidneyLeft": 1, "spine": 2, "KidneyRight": 7})
PAIRS = (("KidneyLeft", "KidneyRight"),)


def refused(settings: Augmentation, plane: str, table: LabelTable) -> str:
    with pytest.raises(UserError) as caught:
        swaps_of(settings, plane, table)
    return str(caught.value)


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_a_flip_of_left_and_right_is_refused_with_the_pairs_to_type(plane):
    line = refused(Augmentation(flips=("rows", "columns")), plane, KIDNEYS)
    assert "KidneyLeft, KidneyRight the wrong side" in line
    assert "augmentation.flip_pairs: [[KidneyLeft, KidneyRight]], or write flips: [rows]." in line


def test_declared_pairs_change_names_along_left_and_right_alone():
    settings = Augmentation(flips=("rows", "columns"), flip_pairs=PAIRS)
    assert swaps_of(settings, "axial", KIDNEYS) == {"rows": (), "columns": ((0, 2),)}


def test_in_a_sagittal_slice_neither_axis_runs_from_left_to_right():
    assert swaps_of(Augmentation(flips=("rows", "columns")), "sagittal", KIDNEYS) == {"rows": (), "columns": ()}


def test_without_flips_sides_are_nobodys_business():
    assert swaps_of(Augmentation(), "axial", KIDNEYS) == {}


def test_structures_without_a_side_may_be_flipped():
    table = label_table({"liver": 1, "tumour": 2, "kidneys both": 3})
    assert swaps_of(Augmentation(flips=("columns",)), "axial", table) == {"columns": ()}


@pytest.mark.parametrize("name", ["femur l", "R_Lung", "Niere links", "middle lobe of right lung", "rein gauche"])
def test_a_side_without_its_partner_cannot_be_flipped(name):
    line = refused(Augmentation(flips=("columns",)), "axial", label_table({name: 1, "heart": 2}))
    assert "no partner in the label table: write flips: []." in line


def test_where_nobody_knows_left_from_right_no_sided_structure_is_flipped():
    for settings in (Augmentation(flips=("rows",)), Augmentation(flips=("rows",), flip_pairs=PAIRS)):
        assert "not known in the plane 'stored'" in refused(settings, "stored", KIDNEYS)
    assert swaps_of(Augmentation(flips=("rows",)), "stored", label_table({"cell": 1})) == {"rows": ()}


def test_pairs_that_the_table_does_not_hold_are_named_all_at_once():
    settings = Augmentation(flip_pairs=(("KidneyLeft", "KidneyRihgt"), ("spine", "KidneyLeft")))
    line = refused(settings, "axial", KIDNEYS)
    assert "'KidneyRihgt' is not a structure (did you mean KidneyRight?)" in line
    assert "KidneyLeft stands in two pairs" in line


def test_a_bias_field_is_refused_for_ct():
    def manifest(modality: str) -> Manifest:
        case = Case(
            case="a",
            image=("i",),
            label=("l",),
            patient_id="p",
            fold=0,
            shape=(9, 9, 9),
            spacing_mm=(1, 1, 1),
            modality=modality,
        )
        return Manifest(name="set", data_root=Path("/data"), table=KIDNEYS, cases=(case,))

    settings = Augmentation(bias_field_probability=0.2)
    check_augmentation(settings, "axial", manifest("MR"))
    with pytest.raises(UserError, match=r"is 0.2, but 1 of 1 cases are CT"):
        check_augmentation(settings, "axial", manifest("CT"))
    check_augmentation(Augmentation(), "axial", manifest("CT"))
