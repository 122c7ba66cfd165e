"""Codes of structures: right by pydicom's own dictionary of DICOM's context groups, found by name, kept in files."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from pipeline.codes import _CONCEPTS, CATEGORIES, MODIFIERS, code_of
from pipeline.errors import UserError
from pipeline.labels import label_table, label_table_from_json

SCT: dict[str, list[tuple[str, str]]] = {}  # code → (meaning, DICOM's keyword)
for keyword, values in concepts["SCT"].items():
    for value, (meaning, _) in values.items():
        SCT.setdefault(value, []).append((meaning.lower(), keyword))
GROUPS = {"Anatomical Structure": 7192, "Morphologically Abnormal Structure": 7194, "Tissue": 7191, "Physical object": 7193}


def test_every_concept_of_the_table_stands_in_dicoms_dictionary() -> None:
    wrong = [
        code
        for code, _ in _CONCEPTS.values()
        if code.meaning.lower() not in [meaning for meaning, _ in SCT.get(code.value, [])]
        or (
            {keyword for _, keyword in SCT[code.value]} & set(cid_concepts[7151]["SCT"])
            and not {keyword for _, keyword in SCT[code.value]} & set(cid_concepts[GROUPS[code.category]]["SCT"])
        )
    ]
    assert wrong == []


def test_categories_and_modifiers_are_dicoms() -> None:
    group = {value for keyword in cid_concepts[7150]["SCT"] for value in concepts["SCT"][keyword]}
    assert set(CATEGORIES.values()) == group
    for value, meaning in MODIFIERS.values():
        assert meaning.lower() in [known for known, _ in SCT[value]]


@pytest.mark.parametrize(
    ("name", "value", "modifiers"),
    [
        ("kidney_left", "64033007", ("left",)),
        ("Left Kidney", "64033007", ("left",)),
        ("RightParotid", "45289007", ("right",)),
        ("Lung_R", "39607008", ("right",)),
        ("kidneys", "64033007", ("both",)),
        ("hippocampus anterior", "5366008", ("anterior",)),
        ("left ventricle", "87878005", ()),
        ("vertebrae_L3", "36470004", ()),
        ("liver tumour", "108369006", ()),
        ("LIVER", "10200004", ()),
        ("Brainstem", "119238007", ()),
        ("GTV", "108369006", ()),
    ],
)
def test_names_as_people_write_them_are_found(name: str, value: str, modifiers: tuple[str, ...]) -> None:
    code = code_of(name)
    assert code is not None and (code.value, code.modifiers) == (value, modifiers)


@pytest.mark.parametrize("name", ["anterior", "left", "liver left", "no tumour", "kidney left right", "xyz", "membrane", ""])
def test_a_name_that_is_not_clear_gets_no_code(name: str) -> None:
    assert code_of(name) is None


def test_a_structure_without_a_code_is_tissue_of_the_category_tissue() -> None:
    structure = label_table({"xyz": 1}).structures[0]
    assert structure.code is None
    assert (structure.concept.value, structure.concept.meaning, structure.concept.category) == ("85756007", "Tissue", "Tissue")


def test_tables_keep_their_codes_and_older_ones_get_the_category() -> None:
    table = label_table({"kidney left": 1, "lesion": 2, "xyz": 3})
    assert label_table_from_json(table.to_json(), where="here") == table
    older = {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}
    data = {"structures": [{"value": 1, "name": "kidney", "colour": [1, 2, 3], "code": older}]}
    assert label_table_from_json(data, where="here").structures[0].concept.category == "Anatomical Structure"


def test_a_category_that_dicom_does_not_have_is_refused_with_the_nearest() -> None:
    code = {"value": "1", "meaning": "Thing", "category": "Tisue"}
    data = {"structures": [{"value": 1, "name": "a", "colour": [1, 2, 3], "code": code}]}
    with pytest.raises(UserError, match=r"'Tisue' is not a category of structures \(did you mean Tissue\?\)"):
        label_table_from_json(data, where="here")


@pytest.mark.parametrize("name", ["x" * 65, "a\\b", "a\nb", " liver"])
def test_a_name_that_dicom_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="DICOM allows"):
        label_table({name: 1})
