"""Choose an experiment for a data set and a budget, each choice with its reason. Every value can be edited afterwards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..data.augmentation import Augmentation
from ..data.augmentation_fit import side_of
from ..data.load import load_image, load_label
from ..data.manifest import Case, Manifest
from ..data.normalise import Normalisation
from ..data.slice_grid import Plane, Preprocessing, SliceGrid, slice_grid
from ..io.geometry import slice_axis
from ..labels import LabelTable
from ..network.sizes import Design, flops, input_side_for, output_side
from ..progress import bar
from .cores import usable_cores
from .experiment import Experiment, NetworkSettings

CASES_READ = 12  # for shapes and for the intensities inside the structures: more hardly move a percentile
ANISOTROPIC = 1.5  # slice distance to pixel size from which a volume shows in which plane it was acquired
GFLOPS_PER_CORE = {"fp32": 110.0, "bf16": 230.0}  # forward and backward of these networks, channels-last, seen on server cores
STEPS_WANTED = 3000  # a network that sees fewer batches within the budget is too wide for it
WIDTHS = (64, 48, 32, 24, 16)  # a narrower network than the last learns too little to be worth a step
PIXELS_PER_BATCH = 1 << 17  # fills two cores; more per step means fewer steps per minute
EMA = 0.999  # a memory of a thousand steps, of a ninth of them where fewer than ten thousand are trained
BIAS_PROBABILITY = 0.15  # as brightness and contrast, which it resembles
ELASTIC_FRACTION = 10 / 512  # the paper's 10 px on its 512 px images


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An experiment, and why: setting ("network.padding") → reason."""

    experiment: Experiment
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """What is kept of a case that was looked at."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    dicom: bool
    inside: np.ndarray  # some of the values within structures; CT only

    def grid(self, settings: Preprocessing) -> SliceGrid:
        return slice_grid(self.shape, self.affine, settings)


def plan(manifest: Manifest, cases: Sequence[Case], *, budget_s: float | None, on_gpu: bool) -> Plan:
    """The experiment for these training cases; some of them, spread over the list, are looked at.

    Args:
        budget_s: wall-clock seconds of the training, None: no limit.
        on_gpu: a CUDA device will train.
    Raises: UserError for a case that cannot be read.
    """
    reasons: dict[str, str] = {}
    modality = Counter(case.modality for case in cases).most_common(1)[0][0]
    step = -(-len(cases) // CASES_READ)
    looks = [_look(manifest, case, inside=modality == "CT") for case in bar(cases[::step], title="looking", unit="case")]
    preprocessing = _preprocessing(cases, looks, modality, reasons)
    grids = [look.grid(preprocessing) for look in looks]
    rows, columns = (int(np.percentile(sides, 95)) for sides in ([g.rows for g in grids], [g.columns for g in grids]))
    precision: Literal["fp32", "bf16"] = "bf16" if _has_bf16(on_gpu) else "fp32"
    reasons["precision"] = "this machine computes bfloat16 natively" if precision == "bf16" else "no native bfloat16 here"
    structures = len(manifest.table.structures)
    head: Literal["softmax", "sigmoid"] = "sigmoid" if manifest.table.overlapping else "softmax"
    padding, patch, batch_size = _patch(rows, columns, budget_s, reasons)
    width = _width(padding, patch, batch_size, budget_s, precision, on_gpu, reasons)
    slices = float(np.mean([grid.slices for grid in grids])) * len(cases)
    reasons["steps_per_epoch"] = "about once through all slices, 100 to 250 steps between validations"
    reasons["learning_rate"] = "with batch normalisation; without it, 3e-4"
    reasons["ema"] = "averaged weights are steadier than those of the last step; 0 in the paper"
    network = NetworkSettings(width=width, padding=padding, normalization="batch", dropout=0.1, head=head)
    reasons["network.normalization"] = "trains faster than the paper's none, and stays exact under tiling"
    reasons["network.dropout"] = "0.5 in the paper, for ten hours of training"
    reasons["network.head"] = f"{structures} overlapping structures" if head == "sigmoid" else "a pixel has one class"
    augmentation = _augmentation(cases, manifest.table, preprocessing.normalisation, patch, reasons)
    experiment = Experiment(
        name=manifest.name,
        network=network,
        preprocessing=preprocessing,
        augmentation=augmentation,
        patch=patch,
        batch_size=batch_size,
        steps_per_epoch=int(np.clip(slices // batch_size, 100, 250)),
        learning_rate=1e-3,
        ema=EMA,
        precision=precision,
    )
    return Plan(experiment=experiment, reasons=reasons)


def _look(manifest: Manifest, case: Case, *, inside: bool) -> _Look:
    image = load_image(manifest, case)
    values = np.empty(0)
    if inside:
        label = load_label(manifest, case, image).array
        mask = label.any(axis=-1) if label.ndim == 4 else label != manifest.table.background
        first = image.array[..., 0] if image.array.ndim == 4 else image.array
        values = first[mask][:: max(1, int(mask.sum()) // 20000)]
    return _Look(shape=image.shape, affine=image.affine, dicom=image.source.kind == "dicom", inside=values)


def _preprocessing(cases: Sequence[Case], looks: Sequence[_Look], modality: str, reasons: dict[str, str]) -> Preprocessing:
    plane = _plane(cases, looks, reasons)
    spacing_mm = 0.0
    if all(case.spacing_known for case in cases):
        sides_mm = [np.sqrt(np.prod(look.grid(Preprocessing(plane=plane)).pixel_mm)) for look in looks]
        # four digits, not decimals: a microscope's pixel is a millionth of a millimetre
        spacing_mm = float(f"{np.median(sides_mm):.4g}")
        reasons["preprocessing.spacing_mm"] = "median pixel size of the cases looked at"
    else:
        reasons["preprocessing.spacing_mm"] = "0: as stored, since the pixel size is not always known"
    return Preprocessing(plane=plane, spacing_mm=spacing_mm, normalisation=_normalisation(looks, modality, reasons))


def _plane(cases: Sequence[Case], looks: Sequence[_Look], reasons: dict[str, str]) -> Plane:
    """The plane in which most cases were acquired: the slices' plane, where slices are thick; axial, where voxels are cubes."""
    if all(case.shape[2] == 1 or not case.spacing_known for case in cases):
        reasons["preprocessing.plane"] = "pictures have no orientation in a patient"
        return "stored"
    votes: Counter[Plane] = Counter(_acquired(look) for look in looks)
    plane: Plane = votes.most_common(1)[0][0]
    reasons["preprocessing.plane"] = f"the plane in which {votes[plane]} of {len(looks)} cases looked at were acquired"
    return plane


def _acquired(look: _Look) -> Plane:
    across = slice_axis(np.linalg.norm(look.affine[:3, :3], axis=0).tolist(), ANISOTROPIC)
    if across is None:
        if not look.dicom:  # cubes in a file whose order of axes says nothing
            return "axial"
        across = 2
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    return next(plane for plane in planes if look.grid(Preprocessing(plane=plane)).order[2] == across)


def _normalisation(looks: Sequence[_Look], modality: str, reasons: dict[str, str]) -> Normalisation:
    where = "preprocessing.normalisation.kind"
    if modality == "CT":
        low, high = _window_of_structures(looks)
        reasons[where] = "CT: Hounsfield units mean the same in every scan"
        reasons["preprocessing.normalisation.low"] = "the structures' own range of HU, and half of it on each side"
        return Normalisation(kind="window", low=low, high=high)
    if modality in ("picture", "CR", "DX", "US", "XA"):
        reasons[where] = f"{modality}: grey values without a unit"
        return Normalisation(kind="percentiles", low=0.5, high=99.5)
    reasons[where] = f"{modality or 'unknown modality'}: grey values without a unit, each scan by its own mean"
    return Normalisation(kind="zscore", low=0.5, high=99.5)


def _window_of_structures(looks: Sequence[_Look]) -> tuple[float, float]:
    """HU from which to which the network must see differences."""
    everything = np.concatenate([look.inside for look in looks])
    if everything.size == 0:
        return -160.0, 240.0  # the usual soft-tissue window
    low, high = np.percentile(everything, [0.5, 99.5])
    margin = max(50.0, (high - low) / 2)
    return float(math.floor(max(-1024, low - margin) / 10) * 10), float(math.ceil(min(3071, high + margin) / 10) * 10)


def _patch(
    rows: int, columns: int, budget_s: float | None, reasons: dict[str, str]
) -> tuple[Literal["valid", "same"], tuple[int, int], int]:
    """Padding, patch and batch size."""
    valid = Design()
    if min(rows, columns) < 2 * valid.border:
        side = [min(256, -(-max(side, 32) // 16) * 16) for side in (rows, columns)]
        batch = int(np.clip(PIXELS_PER_BATCH // (side[0] * side[1]), 2, 32))
        reasons["network.padding"] = (
            f"slices of {columns} x {rows} px are smaller than the {2 * valid.border} px that valid ones lose"
        )
        reasons["patch"] = "whole slices" if max(rows, columns) <= 256 else "at most 256 px a side"
        return "same", (side[0], side[1]), batch
    # The paper's 572 where a budget allows its cost; a smaller tile gives more steps, and wastes more of each on the border.
    largest = 388 if budget_s is None or budget_s > 3600 else 196
    sides = [input_side_for(valid, min(largest, side)) for side in (rows, columns)]
    reasons["network.padding"] = "the paper's"
    reasons["patch"] = f"{' x '.join(str(output_side(valid, s)) for s in sides)} px of output a sample"
    batch = 2 if max(sides) < 500 else 1
    return "valid", (sides[0], sides[1]), batch


def _width(
    padding: Literal["valid", "same"],
    patch: tuple[int, int],
    batch_size: int,
    budget_s: float | None,
    precision: str,
    on_gpu: bool,
    reasons: dict[str, str],
) -> int:
    if on_gpu:
        reasons["network.width"] = "the paper's"
        return 64
    speed = GFLOPS_PER_CORE[precision] * usable_cores() * 1e9
    allowed_s = (budget_s or 3600.0) * 0.7 / STEPS_WANTED
    side = max(patch)

    def step_s(width: int) -> float:
        return 3 * flops(Design(width=width, padding=padding), side) * (min(patch) / side) * batch_size / speed

    width = next((width for width in WIDTHS if step_s(width) <= allowed_s), WIDTHS[-1])
    reasons["network.width"] = (
        f"64 in the paper; the widest with {STEPS_WANTED} steps in the time ({step_s(width):.2f} s a step)"
    )
    return width


def _augmentation(
    cases: Sequence[Case],
    table: LabelTable,
    normalisation: Normalisation,
    patch: tuple[int, int],
    reasons: dict[str, str],
) -> Augmentation:
    reasons["augmentation.elastic_px"] = "the paper's 10 px on 512 px, in proportion to the patch"
    bias = BIAS_PROBABILITY if all(case.modality == "MR" for case in cases) else 0.0
    reasons["augmentation.bias_field_probability"] = "MR: coils leave uneven brightness" if bias else "a fault of MR alone"
    usual = Augmentation()
    half = 1.0
    if normalisation.limits:
        half = 0.5
        reasons["augmentation.noise_deviation"] = "half of the usual, since values from -1 to 1 spread about half as much"
        reasons["augmentation.brightness_shift"] = "half of the usual, like the noise"
    return Augmentation(
        elastic_px=round(max(patch) * ELASTIC_FRACTION, 2),
        flips=_flips(cases, table, reasons),
        bias_field_probability=bias,
        noise_deviation=usual.noise_deviation * half,
        brightness_shift=usual.brightness_shift * half,
    )


def _flips(cases: Sequence[Case], table: LabelTable, reasons: dict[str, str]) -> tuple[str, ...]:
    """Pictures without an orientation may be mirrored; in a patient, sides and ends differ."""
    sided = [structure.name for structure in table.structures if side_of(structure)]
    if not sided and all(not case.spacing_known or case.modality == "picture" for case in cases):
        reasons["augmentation.flips"] = "pictures have neither left nor right"
        return ("rows", "columns")
    reasons["augmentation.flips"] = "add columns or rows where mirror images are as plausible as the scans"
    return ()


def _has_bf16(on_gpu: bool) -> bool:
    import torch

    if on_gpu:
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(torch.cpu._is_avx512_bf16_supported())
