"""Bundles that were damaged or made by an enemy: one line each, nothing of them executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import make_bundle

from pipeline.bundle.bundle import Bundle, contents_sha256, open_bundle
from pipeline.errors import UserError
from pipeline.inference.predictor import Predictor

Change = Callable[[dict], object]


def change(bundle: Bundle, how: Change, *, signed: bool) -> None:
    """Change the metadata; `signed` as somebody does who knows how the hash is made."""
    file = bundle.path / "configs/metadata.json"
    data = json.loads(file.read_text())
    how(data)
    if signed:
        data["unet"]["sha256"] = contents_sha256(data["unet"])
    file.write_text(json.dumps(data))


def refusal(bundle: Bundle) -> str:
    with pytest.raises(UserError) as refused:
        Predictor.from_bundle(bundle.path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(bundle.path) in message
    return message


CHANGES: dict[str, Change] = {
    "values of two structures exchanged": lambda data: [
        structure.update(value=value)
        for structure, value in zip(data["unet"]["recipe"]["label_table"]["structures"], (2, 1), strict=True)
    ],
    "another window": lambda data: data["unet"]["recipe"]["preprocessing"]["normalisation"].update(low=-1000),
    "another plane": lambda data: data["unet"]["recipe"]["preprocessing"].update(plane="coronal"),
    "another hash of the weights": lambda data: data["unet"].update(weights_sha256="0" * 64),
}


@pytest.mark.parametrize("name", CHANGES)
def test_metadata_changed_by_hand_are_refused(name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    change(bundle, CHANGES[name], signed=False)
    assert "the metadata were changed since the bundle was built" in refusal(bundle)


def test_a_description_may_be_edited(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    change(bundle, lambda data: data.update(description="Our liver model", authors="Ward 7"), signed=False)
    assert open_bundle(bundle.path).digest == bundle.digest


def test_a_network_of_a_misspelt_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    change(bundle, lambda data: data["unet"]["network"].update(name="orignal"), signed=True)
    assert "'orignal' is not a network (did you mean original?)" in refusal(bundle)


SIGNED: dict[str, tuple[Change, str]] = {
    "module as network": (lambda d: d["unet"]["network"].update(name="os:system"), "'os:system' is not a network"),
    "unknown setting": (lambda d: d["unet"]["network"]["settings"].update(witdh=3), r"did you mean width?"),
    "text as width": (lambda d: d["unet"]["network"]["settings"].update(width="three"), "do not fit the network"),
    "vast network": (lambda d: d["unet"]["network"]["settings"].update(width=10**9), "width must be 1 to 512"),
    "other weights": (lambda d: d["unet"]["network"]["settings"].update(width=3), "the weights do not fit the network"),
    "unknown head": (lambda d: d["unet"]["recipe"].update(head="argmax"), "head is 'argmax'"),
    "unknown plane": (lambda d: d["unet"]["recipe"]["preprocessing"].update(plane="axail"), "plane must be axial"),
    "unknown recipe key": (lambda d: d["unet"]["recipe"]["preprocessing"].update(spacing=1), "unexpected keyword"),
    "no label table": (lambda d: d["unet"]["recipe"].pop("label_table"), "label_table"),
    "no recipe": (lambda d: d["unet"].pop("recipe"), "recipe"),
    "newer format": (lambda d: d["unet"].update(format=3), "format 3 is newer than this version reads (2)"),
    "format in words": (lambda d: d["unet"].update(format="new"), "cannot be read"),
    "list as eight bits": (lambda d: d["unet"].update(int8=[]), "cannot be read"),
    "eight bits of two networks": (lambda d: d["unet"].update(int8={"ranges": [{}, {}]}), "ranges of 2 networks, not of 1"),
    "a range without 0": (lambda d: d["unet"].update(int8={"ranges": [{"bottleneck.0": [1, 2]}]}), "leaves 0 out"),
    "volumes in words": (lambda d: d["unet"].update(volumes_ml={"organ": ["few", "many"]}), "cannot be read"),
    "volumes without end": (lambda d: d["unet"].update(volumes_ml={"organ": [0, float("nan")]}), "organ is 0.0 to nan"),
    "list as volumes": (lambda d: d["unet"].update(volumes_ml=[1, 2]), "cannot be read"),
    "list instead of settings": (lambda d: d.update(unet=[1, 2]), "cannot be read"),
    "another tool's bundle": (lambda d: d.pop("unet"), "is a MONAI bundle of another tool"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_metadata_that_make_no_sense_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    how, words = SIGNED[name]
    bundle = make_bundle(tmp_path)
    change(bundle, how, signed=name not in ("another tool's bundle", "list instead of settings"))
    assert words in refusal(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "\udcff", '{"unet": ' + "[" * 100_000], ids=repr)
def test_what_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    (bundle.path / "configs/metadata.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal(bundle)


def test_metadata_cannot_name_another_weight_file(tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", network={"width": 3})
    bundle = make_bundle(tmp_path)
    change(bundle, lambda data: data["unet"].update(weights=str(other.path / "models/model.safetensors")), signed=True)
    assert open_bundle(bundle.path).weights()["encoders.0.0.weight"].shape[0] == 2


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    file = bundle.path / "models/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "the weights were changed since the bundle was built" in refusal(bundle)


def test_weights_that_are_no_safetensors_are_refused_whoever_signed_them(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    rubbish = b"\xff" * 200
    (bundle.path / "models/model.safetensors").write_bytes(rubbish)
    change(bundle, lambda data: data["unet"].update(weights_sha256=hashlib.sha256(rubbish).hexdigest()), signed=True)
    assert "the weights cannot be read" in refusal(bundle)


def test_missing_weights_are_refused_although_the_pickled_ones_lie_beside(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    (bundle.path / "models/model.safetensors").unlink()
    assert "the bundle's weights are missing" in refusal(bundle)


def test_a_folder_that_is_no_bundle_is_told_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is not a bundle: there is no configs/metadata.json\. 'unet bundle build' makes one\."
    ):
        open_bundle(tmp_path)


def test_the_nearest_name_is_offered_for_a_misspelt_bundle(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    with pytest.raises(UserError, match=f"Did you mean {bundle.path}"):
        open_bundle(tmp_path / "bundel")
