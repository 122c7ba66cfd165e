"""A made-up CT, and bundles that find its organs, for `inference.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from torch import Tensor

from pipeline.bundle.build import build_bundle
from pipeline.bundle.checks import Checks
from pipeline.data.hashing import sha256_of
from pipeline.data.manifest import Case, Manifest, write_manifest
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing, labels_to_slices, slice_grid
from pipeline.data.slice_stream import SliceStream
from pipeline.io.nifti import write_nifti
from pipeline.io.paths import write_text
from pipeline.io.read import read_volume
from pipeline.io.volume import Volume
from pipeline.labels import label_table
from pipeline.network.catalogue import build_network
from pipeline.network.ranges import find_ranges
from pipeline.network.tiling import WholeSlice
from pipeline.network.unet import OriginalUNet
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.experiment import Experiment, NetworkSettings, experiment_yaml
from pipeline.training.plan import plan
from pipeline.training.run_folder import RunFolder

SIDE, PIXEL_MM, SLICE_MM = 512, 0.7, 3.0
WINDOW_HU = (-160.0, 240.0)
NAMES = {"lungs": 1, "spine": 2}
TABLE = label_table(NAMES)
STEP = 7  # of the pixels of a slice, each so many teaches
PLANNED_S = 12 * 3600.0  # for which a network is planned: a night


def write_series(folder: Path, slices: int) -> Path:
    """A CT of a body of 380 x 260 mm with lungs and a spine, one DICOM file a slice."""
    random = np.random.default_rng(0)
    series, study = generate_uid(), generate_uid()
    folder.mkdir(parents=True)
    for number in range(slices):
        image = np.choose(tissues(number), [-1000.0, 40.0, -850.0, 400.0]) + random.normal(0, 15, (SIDE, SIDE))
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = CTImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID, item.FrameOfReferenceUID = series, study, study
        item.Modality, item.SeriesNumber, item.InstanceNumber, item.PatientID = "CT", 1, number + 1, "made up"
        item.Rows = item.Columns = SIDE
        item.PixelSpacing, item.SliceThickness = [PIXEL_MM, PIXEL_MM], SLICE_MM
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.ImagePositionPatient = [-179.2, -179.2, number * SLICE_MM]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = 1, 0, "HU"
        item.PixelData = image.astype("<i2").tobytes()
        item.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def tissues(number: int) -> np.ndarray:
    """Of one slice, (rows, columns): 0 air, 1 soft tissue, 2 lungs, 3 spine."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    grow = 1 + 0.05 * np.sin(number / 10)
    found = np.zeros((SIDE, SIDE), dtype=np.intp)
    found[_ellipse(rows, columns, 256, 256, 186 * grow, 270 * grow)] = 1
    for column in (150, 362):
        found[_ellipse(rows, columns, 240, column, 100, 70)] = 2
    found[_ellipse(rows, columns, 380, 256, 35, 40)] = 3
    return found


def _ellipse(rows: np.ndarray, columns: np.ndarray, row: float, column: float, high: float, wide: float) -> np.ndarray:
    return np.asarray(((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1)


@dataclass(frozen=True, kw_only=True)
class MadeScan:
    """The series, read, and what is where in it."""

    volume: Volume
    labels: np.ndarray  # uint8 on its grid: 1 lungs, 2 spine

    def write_nifti(self, folder: Path) -> tuple[Path, Path]:
        """Image and mask, as nnU-Net takes them."""
        image, label = folder / "image.nii.gz", folder / "label.nii.gz"
        write_nifti(self.volume, image)
        write_nifti(replace(self.volume, array=self.labels), label)
        return image, label


def read_series(series: Path) -> MadeScan:
    volume = read_volume(series)
    slices = volume.shape[2]
    up = volume.affine[2, 2] > 0  # the first slice of the volume is the first that was written
    planes = [tissues(number if up else slices - 1 - number) for number in range(slices)]
    labels = np.stack([np.maximum(plane.T - 1, 0) for plane in planes], axis=2).astype(np.uint8)
    return MadeScan(volume=volume, labels=labels)


def write_bundle(folder: Path, scan: MadeScan, width: int, *, body_box: bool = False) -> Path:
    """A bundle of the original U-Net for this scan, prepared for eight bits, too."""
    how = Normalisation(kind="window", low=WINDOW_HU[0], high=WINDOW_HU[1])
    experiment = Experiment(
        network=NetworkSettings(width=width), preprocessing=Preprocessing(normalisation=how), manifest="manifest.json"
    )
    return _packaged(folder, scan, experiment, body_box=body_box)


def write_planned_bundle(folder: Path, scan: MadeScan, image: Path, label: Path) -> Path:
    """A bundle of the network that `unet plan` chooses for this scan and a night on this machine."""
    case = Case(
        case="made",
        image=(image.name,),
        label=(label.name,),
        patient_id="made",
        fold=0,
        image_sha256=(sha256_of(image),),
        label_sha256=(sha256_of(label),),
        shape=scan.volume.shape,
        spacing_mm=scan.volume.spacing_mm,
        modality="CT",
    )
    manifest = Manifest(name="made", data_root=image.parent, table=TABLE, cases=(case,))
    found = plan(manifest, manifest.cases, budget_s=PLANNED_S, on_gpu=False)
    return _packaged(folder, scan, replace(found.experiment, manifest="manifest.json"))


def _packaged(folder: Path, scan: MadeScan, experiment: Experiment, *, body_box: bool = False) -> Path:
    run = RunFolder(path=folder / "run")
    hashed = {"image_sha256": ("a" * 64,), "label_sha256": ("b" * 64,)}
    case = Case(case="a", image=("a.nii",), label=("b.nii",), patient_id="a", fold=0, shape=(9, 9, 9), spacing_mm=(1.0,) * 3)
    run.last.parent.mkdir(parents=True)
    cases = (replace(case, modality="CT", **hashed),)
    write_manifest(Manifest(name="made", data_root=folder, table=TABLE, cases=cases), run.manifest_file)
    write_text(run.experiment_file, experiment_yaml(experiment, {}))
    run.note({"fold": None, "finished": True, "image_channels": 1, "best_epoch": 1})
    torch.manual_seed(0)
    network = build_network("original", experiment.network_settings(TABLE, 1)).eval()
    slices = _teach(network, scan, experiment.preprocessing)
    for checkpoint in (run.best, run.last):
        save_checkpoint({"epoch": 1, "network": network.state_dict()}, checkpoint)
    outside = 0 if body_box else None
    checks = Checks(cases=1, unseen=False, differences={}, outside_body=outside, ranges=(find_ranges(network, slices),))
    return build_bundle(run.path, folder / "bundle", check=lambda *_: checks).path


def _teach(network: OriginalUNet, scan: MadeScan, settings: Preprocessing) -> list[Tensor]:
    """Give the last layer weights with which the scan's tissues are found, by ridge regression on three slices; all others stay
    random. So the mask is one of organs and not of noise, which no writer and no page is made for.

    Returns: these slices, as the network sees them.
    """
    grid = slice_grid(scan.volume.shape, scan.volume.affine, settings)
    stream, truth = SliceStream(scan.volume, grid, settings), labels_to_slices(scan.labels, grid, TABLE)
    seen: list[Tensor] = []
    hook = network.scores.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    slices, features, classes = [], [], []
    for number in sorted({grid.slices * quarter // 4 for quarter in (1, 2, 3)}):
        slices.append(torch.from_numpy(stream[number])[None])
        with torch.inference_mode():
            WholeSlice(network, tile=10_000)(slices[-1])  # in one tile
        found = seen.pop()[0, :, : grid.rows, : grid.columns].reshape(network.scores.in_channels, -1).T
        features.append(found[::STEP].double())
        classes.append(torch.from_numpy(truth[number].reshape(-1)[::STEP].astype(np.int64)))
    hook.remove()
    x = torch.cat([torch.cat(features), torch.ones(sum(map(len, features)), 1)], dim=1)
    y = 2 * torch.nn.functional.one_hot(torch.cat(classes), len(NAMES) + 1).double() - 1
    moments = x.T @ x
    weights = torch.linalg.solve(moments + 1e-6 * moments.trace() * torch.eye(len(moments)), x.T @ y).T.float()
    with torch.no_grad():
        network.scores.weight.copy_(weights[:, :-1, None, None])
        network.scores.bias.copy_(weights[:, -1])  # type: ignore[union-attr]
    return slices
