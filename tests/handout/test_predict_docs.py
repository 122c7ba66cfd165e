"""The guide names every option, every file and every key that there is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from made_runs import make_bundle

from pipeline.cli import bundle as bundle_command
from pipeline.cli import predict as predict_command
from pipeline.handout.folder import write_prediction
from pipeline.handout.formats import FORMATS, NIFTI, PICTURE
from pipeline.inference.predictor import Predictor
from pipeline.io.volume import Volume

DOCS = Path(__file__).parents[2] / "docs"


def options(command) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    return [action.option_strings[-1].replace("--out", "-o") for action in parser._actions if action.option_strings]


def keys(data: object) -> set[str]:
    if isinstance(data, list):
        return set().union(*map(keys, data))
    return set().union(data, *map(keys, data.values())) if isinstance(data, dict) else set()


def test_every_option_and_the_example_stand_in_the_guide() -> None:
    for name, command in (("predict", predict_command), ("bundle", bundle_command)):
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        for word in (*options(command), command.EXAMPLE):
            assert word in text, (name, word)


def test_every_file_and_every_key_of_the_sidecar_stands_in_the_guide(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, preprocessing=None)
    image = Volume(array=np.zeros((20, 20, 6), np.int16), affine=np.diag([1.0, 1, 2, 1]))
    folder = write_prediction(Predictor(bundle).predict(image), tmp_path / "out")
    text = (DOCS / "predict.md").read_text(encoding="utf-8")
    sidecar = json.loads((folder / "mask.json").read_text())
    for word in (*(path.name for path in folder.iterdir()), *sorted(keys(sidecar))):
        assert f"`{word}`" in text, word


def test_every_format_has_its_option_and_its_file_in_the_guide() -> None:
    text = (DOCS / "predict.md").read_text(encoding="utf-8")
    for row in (NIFTI, PICTURE, *FORMATS):
        assert f"`{row.file}`" in text
        assert not row.option or f"--{row.option}" in [*options(predict_command), "--seg"]
        assert f"--{row.option}" in text


def test_everything_in_a_bundle_stands_in_the_guide(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    text = (DOCS / "bundle.md").read_text(encoding="utf-8")
    runtime = bundle.path / "unet_runtime"
    files = [str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*") if p.is_file() and runtime not in p.parents]
    part = json.loads((bundle.path / "configs/metadata.json").read_text())["unet"]
    for word in (*files, "unet_runtime/", *part, *part["recipe"], *part["network"]):
        assert f"`{word}`" in text, word
