"""What a bundle holds, what it does not hold, and what building one may not destroy."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from made_runs import make_bundle, make_run, some_case
from safetensors.torch import load_file

from pipeline.bundle.build import build_bundle
from pipeline.bundle.bundle import open_bundle
from pipeline.cli.main import main
from pipeline.data.slice_grid import Preprocessing
from pipeline.errors import UserError
from pipeline.labels import label_table
from pipeline.training.checkpoint import save_checkpoint


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def everything_in(folder: Path) -> bytes:
    """Names and bytes of all files, packed archives unpacked."""
    seen = io.BytesIO()
    for path in sorted(folder.rglob("*")):
        seen.write(str(path.relative_to(folder)).encode() + b"\n")
        if path.is_file():
            seen.write(path.read_bytes())
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    seen.write(name.encode() + archive.read(name))
    return seen.getvalue()


def test_the_command_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "run").path, tmp_path / "bundle"
    assert main(["bundle", "build", str(run), "-o", str(out), "--bundle-version", "3.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"bundle    {out}", "segments  organ, lesion"]
    assert lines[2] == f"next      unet predict {out} DICOM_FOLDER -o predictions"
    assert open_bundle(out).version == "3.1"
    assert main(["bundle", "build", str(tmp_path), "-o", str(out)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_no_case_no_patient_and_no_path_travels(tmp_path: Path) -> None:
    case = some_case(name="jane-doe-1970", patient="PAT-4711")
    (tmp_path / "secret-archive").mkdir()
    run = make_run(tmp_path / "ward-seven" / "run", cases=[case], data_root=tmp_path / "secret-archive")
    bundle = build_bundle(run.path, tmp_path / "made")
    content = everything_in(bundle.path)
    for secret in ("jane-doe", "PAT-4711", "ward-seven", "secret-archive", str(tmp_path), "a" * 64):
        assert secret.encode() not in content, secret
    assert b"organ" in content  # the search does find what is there


def test_both_files_of_configuration_say_the_same(tmp_path: Path) -> None:
    settings = Preprocessing(plane="coronal", spacing_mm=1.5, neighbours=1)
    bundle = make_bundle(tmp_path, preprocessing=settings, network={"padding": "valid"}, modality="MR")
    part = read_json(bundle.path / "configs/metadata.json")["unet"]
    inference = read_json(bundle.path / "configs/inference.json")
    assert inference["recipe"] == part["recipe"]
    network = inference["network_def"]["network"]
    assert {"name": network["name"], "settings": network["settings"]} == part["network"]
    assert part["network"]["settings"]["in_channels"] == 3  # one channel with a neighbour on each side


def test_an_opened_bundle_knows_what_the_run_was(tmp_path: Path) -> None:
    table = label_table({"background": 9, "liver": 4, "tumour": 200})
    bundle = make_bundle(tmp_path, table=table, preprocessing=Preprocessing(plane="sagittal", spacing_mm=0.7), modality="MR")
    assert bundle.recipe.table == table
    assert (bundle.recipe.preprocessing.plane, bundle.recipe.preprocessing.spacing_mm) == ("sagittal", 0.7)
    assert (bundle.recipe.modality, bundle.recipe.head, bundle.network) == ("MR", "softmax", "original")


def test_cases_of_two_modalities_leave_the_modality_open(tmp_path: Path) -> None:
    cases = [some_case("CT", name="a"), some_case("MR", name="b", patient="P2")]
    assert make_bundle(tmp_path, cases=cases).recipe.modality == ""


@pytest.mark.parametrize(("head", "structures", "channels"), [("softmax", 2, 3), ("sigmoid", 1, 1)])
def test_the_metadata_count_the_channels_as_the_network_has_them(head, structures, channels, tmp_path: Path) -> None:
    table = label_table({f"s{n}": n for n in range(1, structures + 1)})
    bundle = make_bundle(tmp_path, table=table, network={"head": head}, image_channels=2)
    formats = read_json(bundle.path / "configs/metadata.json")["network_data_format"]
    assert formats["inputs"]["image"]["num_channels"] == 2
    assert formats["outputs"]["pred"]["num_channels"] == channels == len(formats["outputs"]["pred"]["channel_def"])
    assert len(bundle.weights()["scores.bias"]) == channels


def test_both_weight_files_hold_the_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bundle = build_bundle(run.path, tmp_path / "bundle")
    wanted = torch.load(run.best, weights_only=True)["network"]
    for found in (
        load_file(bundle.path / "models/model.safetensors"),
        torch.load(bundle.path / "models/model.pt", weights_only=True),
    ):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_chosen_checkpoint_and_its_own_score_are_packaged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    state = torch.load(run.best, weights_only=True)
    last = {name: tensor + 1 for name, tensor in state["network"].items()}
    save_checkpoint({"epoch": 3, "network": last}, run.last)
    for epoch, dice in ((1, 0.75), (2, 0.5), (3, 0.0)):
        run.log({"epoch": epoch, "val/dice": dice})
    best, worst = (build_bundle(run.path, tmp_path / which, checkpoint=which) for which in ("best", "last"))
    assert torch.equal(worst.weights()["scores.bias"], best.weights()["scores.bias"] + 1)
    assert "0.7500 after epoch 1" in (best.path / "docs/README.md").read_text()
    assert "0.0000 after epoch 3" in (worst.path / "docs/README.md").read_text()


def test_a_run_without_validation_claims_no_score(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", facts={"fold": None})
    run.log({"epoch": 1, "train/loss": 0.5})
    assert "not validated" in (build_bundle(run.path, tmp_path / "b").path / "docs/README.md").read_text()


def test_one_run_gives_one_digest_and_other_weights_another(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first, second = build_bundle(run.path, tmp_path / "a"), build_bundle(run.path, tmp_path / "b", version="2.0")
    assert first.digest == second.digest
    state = torch.load(run.best, weights_only=True)
    state["network"]["scores.bias"] += 1
    save_checkpoint(state, run.best)
    assert build_bundle(run.path, tmp_path / "c").digest != first.digest


def test_building_again_replaces_the_whole_bundle(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first = build_bundle(run.path, tmp_path / "bundle")
    (first.path / "docs" / "old.md").write_text("of the former version")
    second = build_bundle(run.path, tmp_path / "bundle", version="0.2.0")
    assert second.version == "0.2.0" == open_bundle(first.path).version
    assert not (first.path / "docs" / "old.md").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "run"]


def test_a_damaged_bundle_can_be_built_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bundle = build_bundle(run.path, tmp_path / "bundle")
    (bundle.path / "configs/metadata.json").write_text("{")
    assert build_bundle(run.path, bundle.path).digest == bundle.digest


def test_a_build_that_fails_leaves_the_former_bundle_as_it_was(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bundle = build_bundle(run.path, tmp_path / "bundle")
    before = everything_in(bundle.path)
    run.best.write_bytes(run.best.read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged"):
        build_bundle(run.path, tmp_path / "bundle")
    assert everything_in(bundle.path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "run"]


def put_notes(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


def put_foreign_bundle(folder: Path) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text('{"version": "1.0"}')
    return folder


def put_file(folder: Path) -> Path:
    folder.write_text("mine")
    return folder


@pytest.mark.parametrize("put", [put_notes, put_foreign_bundle, put_file])
def test_what_is_no_bundle_of_ours_is_not_overwritten(put, tmp_path: Path) -> None:
    run, there = make_run(tmp_path / "run"), put(tmp_path / "there")
    before = everything_in(tmp_path)
    with pytest.raises(UserError, match=r"exists and is not a bundle of unet: it holds .* Choose another folder with -o\."):
        build_bundle(run.path, there)
    assert everything_in(tmp_path) == before


def test_a_bundle_with_somebodys_file_beside_is_not_overwritten(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bundle = build_bundle(run.path, tmp_path / "bundle")
    (bundle.path / "approval.pdf").write_text("signed")
    with pytest.raises(UserError, match=r"it holds approval\.pdf"):
        build_bundle(run.path, bundle.path)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert build_bundle(make_run(tmp_path / "run").path, tmp_path / "bundle").name == "bundle"


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(.*\)"):
        build_bundle(make_run(tmp_path / "run").path, tmp_path / "file" / "bundle")


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.best.unlink()
    with pytest.raises(UserError, match=r"best\.pt: there is no such checkpoint"):
        build_bundle(run.path, tmp_path / "bundle")


def test_a_run_that_never_began_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.run_file.write_text('{"fold": 0, "finished": false}')
    with pytest.raises(UserError, match="stopped before its first epoch"):
        build_bundle(run.path, tmp_path / "bundle")


def test_weights_of_another_network_than_the_experiments_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = run.experiment_file.read_text().replace("width: 2", "width: 3")
    run.experiment_file.write_text(text)
    with pytest.raises(UserError, match="the weights do not fit the network 'original'"):
        build_bundle(run.path, tmp_path / "bundle")


def test_how_large_the_structures_were_in_training_travels_and_over_all_folds(tmp_path: Path) -> None:
    facts = {"volumes_ml": {"organ": [0.123456, 12.0], "lesion": [0.0, 1.5]}}
    bundle = make_bundle(tmp_path, facts=facts)
    assert bundle.volumes_ml == {"organ": (0.1235, 12.0), "lesion": (0.0, 1.5)}
    assert open_bundle(bundle.path).volumes_ml == bundle.volumes_ml
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "In the training cases: organ 0.1235 to 12 ml, lesion 0 to 1.5 ml." in card
