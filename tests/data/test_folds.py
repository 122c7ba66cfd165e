"""Folds by patient: balanced, stratified, reproducible, overridable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sets import write_pair

from pipeline.data.build_manifest import Request, build_manifest
from pipeline.data.folds import assign_folds
from pipeline.errors import UserError

PATIENTS = st.dictionaries(st.text("abcdef0123", min_size=1, max_size=6), st.sets(st.integers(1, 5)), min_size=5, max_size=40)


@given(PATIENTS, st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_patient_has_one_fold_and_sizes_differ_by_at_most_one(labels_of, folds, seed):
    chosen = assign_folds(labels_of, folds=folds, seed=seed)
    sizes = Counter(chosen.values())
    assert chosen.keys() == labels_of.keys()
    assert set(sizes) == set(range(folds)) and max(sizes.values()) - min(sizes.values()) <= 1


@given(PATIENTS, st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_the_order_of_patients_does_not_matter(labels_of, seed):
    backwards = dict(reversed(labels_of.items()))
    assert assign_folds(labels_of, seed=seed) == assign_folds(backwards, seed=seed)


def test_a_rare_label_is_spread_over_all_folds():
    labels_of = {f"P{n:02d}": {1, 2} if n < 5 else {1, 3} if n < 10 else {1} for n in range(40)}
    for seed in range(20):
        chosen = assign_folds(labels_of, folds=5, seed=seed)
        for label in (2, 3):
            assert {chosen[p] for p, labels in labels_of.items() if label in labels} == {0, 1, 2, 3, 4}


def test_the_seed_decides():
    labels_of = {f"P{n}": {1} for n in range(20)}
    assert assign_folds(labels_of, seed=1) == assign_folds(labels_of, seed=1) != assign_folds(labels_of, seed=2)


def test_more_folds_than_patients_are_refused():
    with pytest.raises(UserError, match="5 folds of 2 patients"):
        assign_folds({"a": {1}, "b": {1}})


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for patient in ("P1", "P2", "P3"):
        for side in ("left", "right"):
            write_pair(tmp_path / "set", f"{patient}_{side}")
    return tmp_path / "set"


def build(pairs: Path, **said: object):
    return build_manifest(pairs, Request(**{"name": "x", "labels": {"a": 1}, "modality": "MR", "folds": 3, **said}))


def test_both_sides_of_a_patient_stay_together(pairs):
    built = build(pairs, patient_pattern=r"^(P\d)")
    folds = {}
    for case in built.manifest.cases:
        folds.setdefault(case.patient_id, set()).add(case.fold)
    assert folds.keys() == {"P1", "P2", "P3"} and all(len(several) == 1 for several in folds.values())
    assert not built.notices


def test_patients_from_a_table_that_lists_more_than_there_is(pairs):
    rows = "".join(f"P{n}_{side},X{n},step\n" for n in (1, 2, 3, 4) for side in ("left", "right"))
    (pairs / "patients.csv").write_text("case,patient_id,evidence\n" + rows)
    built = build(pairs, patients=pairs / "patients.csv")
    assert {case.patient_id for case in built.manifest.cases} == {"X1", "X2", "X3"}
    assert [str(notice) for notice in built.notices] == [
        "patients.csv: 2 rows name no case of this set and are ignored, e.g. P4_left"
    ]


def test_a_table_without_every_case_is_refused(pairs):
    (pairs / "patients.csv").write_text("case,patient_id\nP1_left,X\n")
    with pytest.raises(UserError, match="5 cases have no patient_id: P1_right"):
        build(pairs, patients=pairs / "patients.csv")


def test_without_a_word_each_case_is_its_own_patient_and_that_is_said(pairs):
    built = build(pairs)
    assert len({case.patient_id for case in built.manifest.cases}) == 6
    assert [notice.code for notice in built.notices] == ["patients-unknown"]


@pytest.mark.parametrize("pattern", ["P", "(P)(_)", "(P"])
def test_a_pattern_needs_exactly_one_group(pattern):
    with pytest.raises(UserError, match="--patient"):
        Request(name="x", patient_pattern=pattern)


def test_a_pattern_must_fit_every_case(pairs):
    with pytest.raises(UserError, match="does not fit 3 cases: P1_right"):
        build(pairs, patient_pattern="(P.)_left")


def test_folds_as_the_user_wants_them(pairs):
    rows = "".join(f"P{n}_{side},{n - 1}\n" for n in (1, 2, 3) for side in ("left", "right"))
    (pairs / "folds.csv").write_text("case,fold\n" + rows)
    built = build(pairs, fold_of=pairs / "folds.csv", patient_pattern=r"^(P\d)")
    assert [case.fold for case in built.manifest.cases] == [0, 0, 1, 1, 2, 2]


def test_a_patient_in_two_wanted_folds_is_refused(pairs):
    rows = "".join(f"P{n}_{side},{int(side == 'left')}\n" for n in (1, 2, 3) for side in ("left", "right"))
    (pairs / "folds.csv").write_text("case,fold\n" + rows)
    with pytest.raises(UserError, match=r"3 patients stand in two folds, e.g. P1 in \[0, 1\]"):
        build(pairs, fold_of=pairs / "folds.csv", patient_pattern=r"^(P\d)")
