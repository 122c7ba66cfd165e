"""Count right and wrong voxels per structure (TP, FP, FN, TN). Knows nothing of files, millimetres or ratios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UserError, some
from ..labels import LabelTable

CHUNK = 1 << 20  # voxels at a time: bincount works on 8 bytes a voxel, which a whole CT should not take


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """Voxels of one volume, or of several added up; one entry a structure, in the label table's order."""

    tp: np.ndarray  # (structures,) int64: in truth and prediction
    fp: np.ndarray  # in the prediction only
    fn: np.ndarray  # in the truth only
    tn: np.ndarray  # in neither

    def __post_init__(self) -> None:
        for name in ("tp", "fp", "fn", "tn"):
            numbers = np.asarray(getattr(self, name), dtype=np.int64)
            if numbers.ndim != 1 or numbers.shape != np.shape(self.tp):
                raise ValueError(f"{name} must be one number a structure, not {numbers.shape}")
            object.__setattr__(self, name, numbers)

    def __add__(self, other: Counts) -> Counts:
        return Counts(tp=self.tp + other.tp, fp=self.fp + other.fp, fn=self.fn + other.fn, tn=self.tn + other.tn)


def no_counts(table: LabelTable) -> Counts:
    """All zero: where a sum starts."""
    zeros = np.zeros(len(table.structures), dtype=np.int64)
    return Counts(tp=zeros, fp=zeros, fn=zeros, tn=zeros)


def count(truth: np.ndarray, predicted: np.ndarray, table: LabelTable, *, where: str = "") -> Counts:
    """Compare two masks voxel by voxel.

    Args:
        truth: exclusive structures: the table's values in any shape, whole numbers; overlapping: (..., structures), 0 or 1.
        predicted: the same kind and shape.
        table: says which of the two it is, and the values.
        where: the case's name, for the error.
    Raises: ValueError where the shapes differ; UserError for values that the table does not hold, all of them at once.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, the prediction {predicted.shape}")
    if table.overlapping:
        return _count_channels(truth, predicted, len(table.structures), where=where or "mask")
    prefix = f"{where}: " if where else ""
    classes = len(table.structures) + 1
    confusion = np.zeros(classes * classes, dtype=np.int64)
    flat_truth, flat_predicted = truth.reshape(-1), predicted.reshape(-1)
    for start in range(0, truth.size, CHUNK):
        part = slice(start, start + CHUNK)
        in_truth = class_indices(flat_truth[part], table, where=f"{prefix}truth")
        in_prediction = class_indices(flat_predicted[part], table, where=f"{prefix}prediction")
        confusion += np.bincount(in_truth * np.intp(classes) + in_prediction, minlength=classes * classes)
    square = confusion.reshape(classes, classes)  # [truth, prediction]
    tp = np.diagonal(square)[1:]
    fp = square.sum(axis=0)[1:] - tp
    fn = square.sum(axis=1)[1:] - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=truth.size - tp - fp - fn)


def class_indices(labels: np.ndarray, table: LabelTable, *, where: str) -> np.ndarray:
    """Mask values as positions in the table, counted from 1; 0 is the background.

    Args:
        labels: the table's values, any shape; floats are taken where they are whole numbers.
        where: named in the error.
    Returns: int16, the shape of `labels`.
    Raises: UserError that lists the values which the table does not hold, with how often each occurs.
    """
    index_of = np.full(256, -1, dtype=np.int16)
    index_of[table.background] = 0
    for position, value in enumerate(table.values, start=1):
        index_of[value] = position
    whole = labels
    if labels.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            whole = labels.astype(np.uint8)
        if not np.array_equal(whole, labels):  # fractions, negative or large values, NaN
            raise _undeclared(labels, table, where)
    indices: np.ndarray = index_of[whole]
    if indices.size and indices.min() < 0:
        raise _undeclared(labels, table, where)
    return indices


def _undeclared(labels: np.ndarray, table: LabelTable, where: str) -> UserError:
    values, times = np.unique(labels, return_counts=True)
    known = {table.background, *table.values}
    strange = [f"{value:g} ({n} voxels)" for value, n in zip(values, times, strict=True) if value not in known]
    return UserError(
        f"values outside the label table: {some(strange, 5)}",
        where=where,
        next="Name them with --labels NAME=VALUE,...",
    )


def _count_channels(truth: np.ndarray, predicted: np.ndarray, structures: int, *, where: str) -> Counts:
    for name, channels in (("truth", truth), ("prediction", predicted)):
        if channels.shape[-1:] != (structures,):
            raise ValueError(f"{name} must have {structures} channels on the last axis, not {channels.shape}")
        if channels.dtype != np.bool_ and not np.isin(channels, (0, 1)).all():
            raise UserError("a mask of overlapping structures holds something else than 0 and 1", where=f"{where}: {name}")
    in_truth = truth.astype(bool).reshape(-1, structures)
    in_prediction = predicted.astype(bool).reshape(-1, structures)
    tp = np.count_nonzero(in_truth & in_prediction, axis=0)
    fp = np.count_nonzero(in_prediction, axis=0) - tp
    fn = np.count_nonzero(in_truth, axis=0) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=len(in_truth) - tp - fp - fn)
