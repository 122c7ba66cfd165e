"""A made-up CT, and bundles that find its organs, for `inference.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from torch import Tensor, nn

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
from pipeline.labels import LabelTable, label_table
from pipeline.network.catalogue import build_network
from pipeline.network.ranges import find_ranges
from pipeline.network.unet import OriginalUNet
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.experiment import Experiment, NetworkSettings, experiment_yaml
from pipeline.training.plan import plan
from pipeline.training.run_folder import RunFolder

SIDE, SLICE_MM = 512, 3.0
PIXEL_MM = 0.977  # a field of 500 mm, as a CT to plan a radiation has; 0.8 is one of 410 mm, which a body fills
BODY_MM, ORGANS_MM = (260, 380), (154, 238)  # rows and columns: the body, and the part of it that holds the organs
WINDOW_HU = (-160.0, 240.0)
AIR_HU, BODY_HU = -1000.0, -120.0
ORGANS_HU = (-60.0, 220.0)  # of the first organ and of the last
LIFT = 1.25  # what the network sees lies between -1 and 1; not more, or the steps of bfloat16 are those of several HU
PLANNED_S = 12 * 3600.0  # for which a network is planned: a night


def table_of(organs: int) -> LabelTable:
    return label_table({f"organ {number}": number for number in range(1, organs + 1)})


def write_series(
    folder: Path,
    slices: int,
    organs: int,
    *,
    pixel_mm: float = PIXEL_MM,
    side: int = SIDE,
    modality: str = "CT",
    seed: int = 0,
) -> Path:
    """A body of 380 x 260 mm with organs in it, one DICOM file a slice of `side` pixels. Values are those of CT.

    Args:
        pixel_mm: of a slice of 512 pixels; with fewer, the field stays as it is.
    """
    random, step = np.random.default_rng(seed), SIDE // side
    grey = np.array([AIR_HU, BODY_HU, *np.linspace(*ORGANS_HU, organs)])
    noise_hu = min(8.0, (ORGANS_HU[1] - ORGANS_HU[0]) / organs / 8)
    series, study = generate_uid(), generate_uid()
    corner_mm = -pixel_mm * (SIDE - 1) / 2
    folder.mkdir(parents=True)
    for number in range(slices):
        image = grey[tissues(number, slices, organs, pixel_mm)][::step, ::step] + random.normal(0, noise_hu, (side, side))
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID, item.FrameOfReferenceUID = series, study, study
        item.Modality, item.SeriesNumber, item.InstanceNumber, item.PatientID = modality, 1, number + 1, "made up"
        item.Rows = item.Columns = side
        item.PixelSpacing, item.SliceThickness = [pixel_mm * step, pixel_mm * step], SLICE_MM
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.ImagePositionPatient = [corner_mm, corner_mm, number * SLICE_MM]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            item.RescaleSlope, item.RescaleIntercept, item.RescaleType = 1, 0, "HU"
        item.PixelData = image.astype("<i2").tobytes()
        item.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def tissues(number: int, slices: int, organs: int, pixel_mm: float) -> np.ndarray:
    """Of one slice, (rows, columns): 0 air, 1 body, from 2 on the organs, side by side, each in part of the slices."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    found = np.zeros((SIDE, SIDE), dtype=np.intp)
    found[_ellipse(rows, columns, 256, 256, BODY_MM[0] / 2 / pixel_mm, BODY_MM[1] / 2 / pixel_mm)] = 1
    across = math.ceil(math.sqrt(2 * organs))  # the body is wider than it is high
    down = -(-organs // across)
    high, wide = ORGANS_MM[0] / pixel_mm / down, ORGANS_MM[1] / pixel_mm / across
    share = min(0.8, max(0.25, 4 / organs))  # of the slices
    for organ in range(organs):
        first = (1 - share) * organ / max(1, organs - 1)
        if not first <= (number + 0.5) / slices <= first + share:
            continue
        row, column = 256 + (organ // across - (down - 1) / 2) * high, 256 + (organ % across - (across - 1) / 2) * wide
        grow = 0.36 + 0.08 * math.sin(number / 10 + organ)
        found[_ellipse(rows, columns, row, column, high * grow, wide * grow)] = 2 + organ
    return found


def _ellipse(rows: np.ndarray, columns: np.ndarray, row: float, column: float, high: float, wide: float) -> np.ndarray:
    return np.asarray(((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1)


@dataclass(frozen=True, kw_only=True)
class MadeScan:
    """The series, read, and what is where in it."""

    volume: Volume
    labels: np.ndarray  # uint8 on its grid: organs from 1 on
    organs: int

    def write_nifti(self, folder: Path) -> tuple[Path, Path]:
        """Image and mask, as nnU-Net takes them."""
        image, label = folder / "image.nii.gz", folder / "label.nii.gz"
        write_nifti(self.volume, image)
        write_nifti(replace(self.volume, array=self.labels), label)
        return image, label


def read_series(series: Path, organs: int) -> MadeScan:
    volume = read_volume(series)
    slices = volume.shape[2]
    up = volume.affine[2, 2] > 0  # the first slice of the volume is the first that was written
    pixel_mm = volume.spacing_mm[0]
    planes = [tissues(number if up else slices - 1 - number, slices, organs, pixel_mm) for number in range(slices)]
    labels = np.stack([np.maximum(plane.T - 1, 0) for plane in planes], axis=2).astype(np.uint8)
    return MadeScan(volume=volume, labels=labels, organs=organs)


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
    manifest = Manifest(name="made", data_root=image.parent, table=table_of(scan.organs), cases=(case,))
    found = plan(manifest, manifest.cases, budget_s=PLANNED_S, on_gpu=False)
    return _packaged(folder, scan, replace(found.experiment, manifest="manifest.json"), body_box=True)


def _packaged(folder: Path, scan: MadeScan, experiment: Experiment, *, body_box: bool = False) -> Path:
    run, table = RunFolder(path=folder / "run"), table_of(scan.organs)
    hashed = {"image_sha256": ("a" * 64,), "label_sha256": ("b" * 64,)}
    case = Case(case="a", image=("a.nii",), label=("b.nii",), patient_id="a", fold=0, shape=(9, 9, 9), spacing_mm=(1.0,) * 3)
    run.last.parent.mkdir(parents=True)
    cases = (replace(case, modality="CT", **hashed),)
    write_manifest(Manifest(name="made", data_root=folder, table=table, cases=cases), run.manifest_file)
    write_text(run.experiment_file, experiment_yaml(experiment, {}))
    run.note({"fold": None, "finished": True, "image_channels": 1, "best_epoch": 1})
    torch.manual_seed(0)
    network = build_network("original", experiment.network_settings(table, 1)).eval()
    slices = _teach(network, scan, experiment.preprocessing)
    for checkpoint in (run.best, run.last):
        save_checkpoint({"epoch": 1, "network": network.state_dict()}, checkpoint)
    outside = 0 if body_box else None
    checks = Checks(cases=1, unseen=False, differences={}, outside_body=outside, ranges=(find_ranges(network, slices),))
    return build_bundle(run.path, folder / "bundle", check=lambda *_: checks).path


def _teach(network: OriginalUNet, scan: MadeScan, settings: Preprocessing) -> list[Tensor]:
    """Give the network weights with which the organs are found, so that the mask is one of organs and not of noise, which no
    writer and no page is made for. It costs what any weights cost.

    One channel carries the grey value through the first and the last pair of convolutions, all others stay random; the nearest
    organ is a linear function of it.
    Returns: a few slices, as the network sees them.
    """
    table = table_of(scan.organs)
    grid = slice_grid(scan.volume.shape, scan.volume.affine, settings)
    stream, truth = SliceStream(scan.volume, grid, settings), labels_to_slices(scan.labels, grid, table)
    centre = network.design.in_channels // 2
    seen = stream[grid.slices // 2][centre]
    outside = seen[truth[grid.slices // 2] == 0]
    above_air = outside[outside > seen.min() + 1e-3]  # none where the body lies below the window, as air does
    body = np.median(above_air if above_air.size else outside)
    organs = [_seen(stream, truth, organ, centre) for organ in range(1, scan.organs + 1)]
    grey = torch.tensor([body, *organs], dtype=torch.float32) + LIFT
    with torch.no_grad():
        for block, carries in ((network.encoders[0], centre), (network.decoders[-1], 0)):
            for convolution in (layer for layer in block.children() if isinstance(layer, nn.Conv2d)):
                convolution.weight[0] = 0
                convolution.weight[0, carries, 1, 1] = 1
                carries = 0
        network.encoders[0][0].bias[0] = LIFT  # type: ignore[index, operator]
        network.scores.weight.zero_()
        network.scores.weight[:, 0, 0, 0] = 2 * grey
        network.scores.bias.copy_(-(grey**2))  # type: ignore[union-attr]
    return [torch.from_numpy(stream[number])[None] for number in sorted({grid.slices * part // 4 for part in (1, 2, 3)})]


def _seen(stream: SliceStream, truth: np.ndarray, organ: int, channel: int) -> float:
    """The grey value of an organ as the network sees it; one that no slice meets has one of its own, that nothing has."""
    numbers = np.flatnonzero((truth == organ).any(axis=(1, 2)))
    if not numbers.size:
        return 100.0 + organ
    number = int(numbers[len(numbers) // 2])
    return float(np.median(stream[number][channel][truth[number] == organ]))
