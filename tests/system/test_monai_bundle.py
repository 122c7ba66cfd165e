"""`python -m monai.bundle run` in an environment that holds the bundle's stated packages and nothing else of ours.

The environment is made once, outside the checkout, and is found again by the hash of the packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import ONE, make_bundle, make_folds, thresholding_bundle
from made_series import SERIES, noise, save, volume_datasets

from pipeline.bundle.build import build_bundle
from pipeline.bundle.bundle import Bundle
from pipeline.data.normalise import Normalisation
from pipeline.data.postprocess import Steps
from pipeline.data.slice_grid import Preprocessing
from pipeline.handout.folder import write_prediction
from pipeline.inference.predictor import Predictor
from pipeline.io.nifti import write_nifti
from pipeline.io.volume import Volume
from pipeline.labels import label_table

Monai = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a virtual environment made from a bundle's requirements.txt alone."""
    requirements = make_bundle(tmp_path_factory.mktemp("any")).path / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unet-tests"
    place = home / f"bundle-{key}"
    if not (place / "complete").is_file():
        aside = home / f".bundle-{key}.{os.getpid()}"
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(aside)], check=True)
        install = [aside / "bin" / "python", "-m", "pip", "install", "--quiet", "--requirement", requirements]
        done = subprocess.run(list(map(str, install)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        (aside / "complete").touch()
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def python(clean_python: Path) -> Monai:
    """Runs the clean Python from an empty folder, or from `cwd`."""

    def run(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        cwd.mkdir(parents=True, exist_ok=True)
        command = [str(clean_python), *map(str, words)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env={**kept, **environment})

    return run


@dataclass(frozen=True)
class Inputs:
    folder: Path
    names: tuple[str, ...]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Series (plain, tilted, one slice without a thickness) and NIfTI (oblique, floats, whole numbers beyond 24 bits)."""
    folder = tmp_path_factory.mktemp("inputs")
    soft = noise(6, 24, 28) // 8 + 900  # -100 to 411 HU
    save(volume_datasets(soft), folder / "Doe Jane 1970")
    save(volume_datasets(soft[:, ::-1], series=f"{SERIES}.2", step=(0, 1.0, 4.0)), folder / "tilted")
    save(volume_datasets(soft[:1], series=f"{SERIES}.3", SliceThickness=None), folder / "one slice")
    random = np.random.default_rng(0)
    oblique = np.array([[0.2, -1.2, 0.1, 3], [0.9, 0.3, 0.2, 4], [-0.05, 0.1, 3, 5], [0, 0, 0, 1.0]])
    oblique[:3, :3] = np.linalg.qr(oblique[:3, :3])[0] * (0.9, 1.2, 3.0)
    write_nifti(Volume(array=random.normal(50, 120, (40, 37, 6)).astype(np.int16), affine=oblique), folder / "knee scan.nii.gz")
    write_nifti(
        Volume(array=random.normal(50, 120, (21, 30, 4)).astype(np.float32), affine=np.diag([1.0, 2, 3, 1])),
        folder / "floats.nii",
    )
    counts = (random.normal(0, 1, (25, 26, 3)) * 2**27).astype(np.int32)
    write_nifti(Volume(array=counts, affine=np.diag([-1.0, -1, 3, 1])), folder / "counts.nii.gz")
    names = ("series4_11111111", "series4_11111112", "series4_11111113", "knee scan", "floats", "counts")
    return Inputs(folder, names)


def run_monai(python: Monai, bundle: Bundle, dataset: Path, out: Path, cwd: Path, *words: object) -> str:
    config = ("--config_file", bundle.path / "configs/inference.json")
    done = python("-m", "monai.bundle", "run", *config, "--dataset_dir", dataset, "--output_dir", out, *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_same(monai_mask: Path, our_mask: Path) -> None:
    a, b = nibabel.load(monai_mask), nibabel.load(our_mask)
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    np.testing.assert_array_equal(a.affine, b.affine)
    assert a.get_data_dtype() == b.get_data_dtype() == np.uint8


PREPARED = {
    "padded": ({"padding": "same", "width": 3}, Preprocessing(normalisation=Normalisation(kind="window", low=-200, high=300))),
    "unpadded": ({"padding": "valid", "width": 3, "normalization": "batch"}, Preprocessing(neighbours=1)),
    "unpadded, resampled": ({"padding": "valid"}, Preprocessing(plane="coronal", spacing_mm=1.1)),
}


@pytest.mark.parametrize("name", PREPARED)
def test_one_mask_by_monai_by_the_command_and_by_the_predictor(
    name: str, python: Monai, inputs: Inputs, unet, tmp_path: Path
) -> None:
    network, preprocessing = PREPARED[name]
    bundle = make_bundle(tmp_path, network=network, preprocessing=preprocessing)
    run_monai(python, bundle, inputs.folder, tmp_path / "monai", tmp_path / "elsewhere")
    sources = sorted(inputs.folder.iterdir())
    done = unet("predict", bundle.path, *sources, "-o", tmp_path / "command")
    assert done.returncode == 0, done.stderr
    predictor = Predictor.from_bundle(bundle.path)
    written = [write_prediction(predictor.predict(source), tmp_path / "python") for source in sources]
    assert sorted(folder.name for folder in written) == sorted(inputs.names)
    assert sorted(path.name for path in (tmp_path / "monai").iterdir()) == sorted(f"{n}_seg.nii.gz" for n in inputs.names)
    found = set()
    for stem in inputs.names:
        assert_same(tmp_path / "monai" / f"{stem}_seg.nii.gz", tmp_path / "command" / stem / "mask.nii.gz")
        assert_same(tmp_path / "python" / stem / "mask.nii.gz", tmp_path / "command" / stem / "mask.nii.gz")
        found |= set(np.unique(np.asarray(nibabel.load(tmp_path / "command" / stem / "mask.nii.gz").dataobj)).tolist())
    assert found == {0, 1, 2}  # not equal for being empty


def test_it_runs_where_a_folder_of_its_own_scripts_lies(python: Monai, inputs: Inputs, tmp_path: Path) -> None:
    bundle = thresholding_bundle(tmp_path, table=label_table({"background": 9, "organ": 3}), at=100)
    for package in ("scripts", "pipeline", "bundle"):
        (tmp_path / "cwd" / package).mkdir(parents=True)
        (tmp_path / "cwd" / package / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    run_monai(python, bundle, inputs.folder / "tilted", tmp_path / "out", tmp_path / "cwd", "--bundle_root", bundle.path)
    ours = write_prediction(Predictor(bundle).predict(inputs.folder / "tilted"), tmp_path / "ours")
    assert_same(tmp_path / "out" / "series4_11111112_seg.nii.gz", ours / "mask.nii.gz")
    assert set(np.unique(np.asarray(nibabel.load(ours / "mask.nii.gz").dataobj))) == {3, 9}


def test_overlapping_structures_come_out_alike(python: Monai, inputs: Inputs, tmp_path: Path) -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    bundle = thresholding_bundle(tmp_path, table=table, head="sigmoid", at=100)
    run_monai(python, bundle, inputs.folder / "knee scan.nii.gz", tmp_path / "out", tmp_path / "cwd")
    ours = write_prediction(Predictor(bundle).predict(inputs.folder / "knee scan.nii.gz"), tmp_path / "ours")
    assert_same(tmp_path / "out" / "knee scan_seg.nii.gz", ours / "mask.nii.gz")
    assert nibabel.load(ours / "mask.nii.gz").shape == (40, 37, 6, 2)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_an_ensemble_s_masks_come_out_alike(head: str, python: Monai, inputs: Inputs, tmp_path: Path) -> None:
    table = label_table({"organ": 1, "lesion": 2}, overlapping=head == "sigmoid")
    cross = make_folds(tmp_path / "folds", table=table, network={"padding": "valid", "head": head})
    bundle = build_bundle(cross.path, tmp_path / "bundle")
    assert bundle.members == 3
    run_monai(python, bundle, inputs.folder, tmp_path / "monai", tmp_path / "cwd")
    predictor, found = Predictor(bundle), set()
    for source in sorted(inputs.folder.iterdir()):
        ours = write_prediction(predictor.predict(source), tmp_path / "ours")
        assert_same(tmp_path / "monai" / f"{ours.name}_seg.nii.gz", ours / "mask.nii.gz")
        found |= set(np.unique(np.asarray(nibabel.load(ours / "mask.nii.gz").dataobj)).tolist())
    assert found >= {0, 1}  # not equal for being empty


def test_post_processed_masks_come_out_alike(python: Monai, inputs: Inputs, tmp_path: Path) -> None:
    steps = {"organ": Steps(smallest_ml=0.02, holes=True), "lesion": Steps(largest=True)}
    plain, bundle = make_bundle(tmp_path / "plain"), make_bundle(tmp_path / "with", postprocessing=steps)
    (tmp_path / "sized").mkdir()
    sources = [path for path in sorted(inputs.folder.iterdir()) if path.name != "one slice"]  # nobody knows how thick it is
    for source in sources:
        (tmp_path / "sized" / source.name).symlink_to(source)
    run_monai(python, bundle, tmp_path / "sized", tmp_path / "monai", tmp_path / "cwd")
    changed = 0
    for source in sources:
        prediction = Predictor(bundle).predict(source)
        ours = write_prediction(prediction, tmp_path / "ours")
        assert_same(tmp_path / "monai" / f"{ours.name}_seg.nii.gz", ours / "mask.nii.gz")
        changed += int((Predictor(plain).predict(source).labels.array != prediction.labels.array).sum())
    assert changed > 0


def test_what_unet_refuses_monai_does_not_segment_either(python: Monai, inputs: Inputs, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, modality="MR", table=ONE)
    config = ("--config_file", bundle.path / "configs/inference.json")
    where = ("--dataset_dir", inputs.folder / "tilted", "--output_dir", tmp_path / "out")
    done = python("-m", "monai.bundle", "run", *config, *where, cwd=tmp_path / "cwd")
    assert done.returncode != 0
    assert "the modality is CT, the bundle was trained on MR" in done.stderr
    assert not (tmp_path / "out").exists()


CHECK_MODULES = """
import importlib, pkgutil, sys
import unet_runtime
for module in pkgutil.walk_packages(unet_runtime.__path__, "unet_runtime."):
    importlib.import_module(module.name)
from monai.bundle.utils import DEFAULT_METADATA
import json
metadata = json.load(open(sys.argv[1]))
print(sorted(DEFAULT_METADATA.keys() - metadata.keys()))
"""


def test_every_module_of_the_bundle_imports_and_its_metadata_have_monai_s_fields(python: Monai, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    done = python("-c", CHECK_MODULES, bundle.path / "configs/metadata.json", cwd=tmp_path / "cwd", PYTHONPATH=str(bundle.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_monai_s_own_check_of_the_network_s_sizes_passes(python: Monai, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, preprocessing=Preprocessing(neighbours=1))
    files = ("--meta_file", bundle.path / "configs/metadata.json", "--config_file", bundle.path / "configs/inference.json")
    words = ("-m", "monai.bundle", "verify_net_in_out", "--net_id", "network_def", *files)
    done = python(*words, cwd=tmp_path / "cwd", PYTHONPATH=str(bundle.path))
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stderr + done.stdout


def test_the_requirements_are_the_metadata_s_versions(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    metadata = json.loads((bundle.path / "configs/metadata.json").read_text())
    stated = dict(line.split("==") for line in (bundle.path / "requirements.txt").read_text().splitlines())
    told = {name: metadata[f"{key}_version"] for name, key in (("monai", "monai"), ("torch", "pytorch"), ("numpy", "numpy"))}
    assert stated == {**told, **metadata["required_packages_version"]}


@pytest.mark.parametrize("case", ["mr_jpeg2000", "mr_jpegls", "mr_jpeg_lossless", "mr_rle"])
def test_compressed_series_are_decoded_in_the_clean_environment(case: str, shared: Path, python: Monai, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, modality="MR")
    code = "import sys; from unet_runtime.io.read import read_volume; v = read_volume(sys.argv[1]); print(int(v.array.sum()))"
    done = python("-c", code, shared / "dicom" / case, cwd=tmp_path / "cwd", PYTHONPATH=str(bundle.path))
    from pipeline.io.read import read_volume

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(read_volume(shared / "dicom" / case).array.sum())
