"""Every sidecar fits docs/mask.schema.json, which allows nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from made_predictions import handed_out, labelled, pixels, series
from made_runs import thresholding_bundle
from made_series import save, volume_datasets
from PIL import Image

from pipeline.cli.main import main
from pipeline.handout.folder import write_prediction
from pipeline.inference.prediction import Prediction, structure_volumes
from pipeline.inference.runtime.catalogue import RUNTIMES
from pipeline.io.volume import Volume
from pipeline.labels import label_table

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "mask.schema.json").read_text(encoding="utf-8"))


def fits(folder: Path) -> dict:
    said = json.loads((folder / "mask.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(said)
    return said


@pytest.mark.parametrize("kind", ["plain", "tilted", "one slice", "enhanced, groups a frame, second of two volumes"])
def test_sidecars_of_dicom_fit_the_schema(kind: str, tmp_path: Path) -> None:
    folder, reading = series(kind, tmp_path / "in")
    said = fits(handed_out(folder, tmp_path / "out", **reading)[1])
    assert len(said["slices"]) == said["image"]["shape"][2]
    assert said["resampled"] == (["sheared"] if kind == "tilted" else [])


def test_sidecars_of_an_evened_series_of_overlapping_structures_and_of_an_array_fit(tmp_path: Path) -> None:
    datasets = volume_datasets(pixels())
    fits(handed_out(save([*datasets[:2], *datasets[3:]], tmp_path / "in"), tmp_path / "a", accept_irregular=True)[1])
    image = Volume(array=np.zeros((9, 8, 4), np.float32), affine=np.eye(4))
    fits(write_prediction(labelled(image, label_table({"a": 1, "b": 2, "c": 3})), tmp_path / "b"))
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    labels = replace(image, array=np.ones((9, 8, 4, 2), np.uint8))
    prediction = Prediction(image=image, labels=labels, table=table, structures=structure_volumes(labels, table))
    fits(write_prediction(prediction, tmp_path / "c"))


def test_sidecars_of_the_command_fit_with_all_that_it_adds(tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"cell": 255}), plane="stored", modality="picture", at=127)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)).save(tmp_path / "cells.png")
    assert main(["predict", str(bundle.path), str(tmp_path / "cells.png"), "-o", str(tmp_path / "out")]) == 0
    said = fits(tmp_path / "out" / "cells")
    assert set(said["timings_s"]) == {"read", "segment", "write", "page"}
    assert set(said["provenance"]) == set(SCHEMA["properties"]["provenance"]["properties"])


def test_the_schema_allows_each_runtime_in_each_precision() -> None:
    said = SCHEMA["properties"]["provenance"]["properties"]
    assert set(said["runtime"]["enum"]) == set(RUNTIMES)
    assert set(said["precision"]["enum"]) == {precision for row in RUNTIMES.values() for precision in row.precisions}


def test_the_schema_allows_no_key_that_it_does_not_name(tmp_path: Path) -> None:
    said = fits(handed_out(series("plain", tmp_path / "in")[0], tmp_path / "out")[1])
    places = [said, said["image"], said["slices"][0], said["labels"], said["labels"]["structures"][1]["code"], said["files"][0]]
    for place in [*places, said["volumes"][0], said["provenance"], said["timings_s"]]:
        place["surprise"] = 1
        with pytest.raises(jsonschema.ValidationError, match="surprise"):
            jsonschema.Draft202012Validator(SCHEMA).validate(said)
        del place["surprise"]


def test_the_guide_links_the_schema_and_names_its_keys() -> None:
    text = (DOCS / "predict.md").read_text(encoding="utf-8")
    assert "(mask.schema.json)" in text
    for key in (*SCHEMA["properties"], *SCHEMA["properties"]["image"]["properties"], *SCHEMA["$defs"]["code"]["properties"]):
        assert f"`{key}`" in text, key
