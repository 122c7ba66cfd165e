"""The table of an evaluation: a row a case and structure, a summary a structure. Knows nothing of networks or run folders."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import Notice
from ..io.geometry import voxel_ml
from ..io.paths import write_text
from ..labels import LabelTable
from .counts import Counts, count
from .scores import Mean, Scores, mean, mean_with_interval, scores
from .surface import NSD_TOLERANCE_MM, SurfaceScores, surface_scores

# measure → what its number means; the order is that of every table
MEASURES: Mapping[str, str] = {
    "dice": "2 TP / (2 TP + FP + FN)",
    "iou": "TP / (TP + FP + FN)",
    "precision": "TP / (TP + FP)",
    "recall": "TP / (TP + FN)",
    "accuracy": "(TP + TN) / all voxels",
    "hd95_mm": "95th percentile of the distance between the surfaces, the larger of both directions",
    "nsd": "share of both surfaces within the tolerance of the other",
    "volume_error_ml": "volume of the prediction minus volume of the truth",
}


class CaseMasks(NamedTuple):
    """One case to score: truth and prediction on one grid."""

    case: str
    patient_id: str
    truth: np.ndarray  # (columns, rows, slices) with the table's values; overlapping: (columns, rows, slices, structures)
    predicted: np.ndarray  # the same
    affine: np.ndarray | None  # 4x4, voxel index to mm; None where the pixel size is unknown: no mm and no ml then


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One structure of one case."""

    case: str
    patient_id: str
    structure: str
    tp: int
    fp: int
    fn: int
    tn: int
    scores: Scores
    surface: SurfaceScores  # both None where millimetres are unknown
    truth_ml: float | None
    predicted_ml: float | None

    @property
    def volume_error_ml(self) -> float | None:
        """Predicted minus true volume; None where ml are unknown or the structure is in neither mask."""
        if self.truth_ml is None or self.predicted_ml is None or self.tp + self.fp + self.fn == 0:
            return None
        return self.predicted_ml - self.truth_ml

    def measures(self) -> dict[str, float | None]:
        """Every measure by its name in `MEASURES`; None is n/a."""
        s, d = self.scores, self.surface
        values = (s.dice, s.iou, s.precision, s.recall, s.accuracy, d.hd95_mm, d.nsd, self.volume_error_ml)
        return dict(zip(MEASURES, values, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTable:
    """The scores of a set of cases."""

    table: LabelTable
    rows: tuple[Row, ...]  # by case, in each case by the label table's order
    tolerance_mm: float = NSD_TOLERANCE_MM
    notices: tuple[Notice, ...] = ()
    manifest: str = ""  # digest of the data set that the cases are of; "": not known, masks of any tool
    fold: int | Literal["all"] | None = None  # whose validation cases these are; "all": each case's own fold

    @classmethod
    def from_cases(
        cls,
        cases: Iterable[tuple[str, str, np.ndarray, np.ndarray, np.ndarray | None]],
        table: LabelTable,
        *,
        tolerance_mm: float = NSD_TOLERANCE_MM,
        notices: Iterable[Notice] = (),
    ) -> EvaluationTable:
        """Score cases one after the other; only one is held in memory.

        Args:
            cases: `CaseMasks`, or plain tuples of its five fields.
            table: which values or channels are which structure.
            tolerance_mm: of the NSD.
        Raises: UserError that names the case for a mask value outside the table.
        """
        rows: list[Row] = []
        for item in cases:
            rows += _rows(CaseMasks(*item), table, tolerance_mm)
        return cls(table=table, rows=tuple(rows), tolerance_mm=tolerance_mm, notices=tuple(notices))

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.case for row in self.rows))

    def summary(self) -> dict[str, dict[str, Mean]]:
        """Structure → measure → mean over cases with its 95 % interval (bootstrap over patients)."""
        result: dict[str, dict[str, Mean]] = {}
        for name in self.table.names:
            rows = [row for row in self.rows if row.structure == name]
            patients = [row.patient_id for row in rows]
            values = [row.measures() for row in rows]
            result[name] = {key: mean_with_interval([v[key] for v in values], patients) for key in MEASURES}
        return result

    def mean_dice(self) -> Mean:
        """Mean over the structures of their mean Dice: each structure counts the same however often it occurs."""
        return mean(mean(row.scores.dice for row in self.rows if row.structure == name).value for name in self.table.names)

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracker: "dice/liver" and so on, and "dice/mean"; what is n/a is left out."""
        flat = {
            f"{key}/{structure}": result.value
            for structure, results in self.summary().items()
            for key, result in results.items()
            if result.value is not None
        }
        overall = self.mean_dice().value
        return flat if overall is None else {**flat, "dice/mean": overall}

    def to_json(self) -> dict[str, object]:
        """Plain types: summary, definitions, one entry a row; null is n/a."""
        return {
            "cases": len(self.cases),
            "patients": len({row.patient_id for row in self.rows}),
            "manifest_digest": self.manifest or None,
            "fold": self.fold,
            "definitions": dict(MEASURES),
            "nsd_tolerance_mm": self.tolerance_mm,
            "interval": "95 %, percentile bootstrap over patients",
            "label_table": self.table.to_json(),
            "mean_dice": self.mean_dice().value,
            "structures": {
                structure: {
                    key: {"mean": m.value, "low": m.low, "high": m.high, "count": m.count, "left_out": m.left_out}
                    for key, m in results.items()
                }
                for structure, results in self.summary().items()
            },
            "rows": [_flat(row) for row in self.rows],
            "notices": [notice.to_json() for notice in self.notices],
        }

    def to_csv(self) -> str:
        """One line a row; an empty field is n/a."""
        text = io.StringIO()
        names = ["case", "patient_id", "structure", "tp", "fp", "fn", "tn", *MEASURES, "truth_ml", "predicted_ml"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_flat(row) for row in self.rows)
        return text.getvalue()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write scores.csv and scores.json into a folder, which is made where it is absent. Returns: their paths."""
        table, everything = folder / "scores.csv", folder / "scores.json"
        write_text(table, self.to_csv())
        write_text(everything, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")
        return table, everything


def _rows(item: CaseMasks, table: LabelTable, tolerance_mm: float) -> list[Row]:
    counts: Counts = count(item.truth, item.predicted, table, where=item.case)
    ml = None if item.affine is None else voxel_ml(item.affine)
    rows = []
    for position, (structure, score) in enumerate(zip(table.structures, scores(counts), strict=True)):
        tp, fp, fn, tn = (int(n[position]) for n in (counts.tp, counts.fp, counts.fn, counts.tn))
        surface = SurfaceScores(hd95_mm=None, nsd=None)
        if item.affine is not None and tp + fp + fn:
            masks = [m[..., position] > 0 if table.overlapping else m == structure.value for m in (item.truth, item.predicted)]
            surface = surface_scores(masks[0], masks[1], item.affine, tolerance_mm=tolerance_mm)
        rows.append(
            Row(
                case=item.case,
                patient_id=item.patient_id,
                structure=structure.name,
                tp=tp,
                fp=fp,
                fn=fn,
                tn=tn,
                scores=score,
                surface=surface,
                truth_ml=None if ml is None else (tp + fn) * ml,
                predicted_ml=None if ml is None else (tp + fp) * ml,
            )
        )
    return rows


def _flat(row: Row) -> dict[str, object]:
    values = {key: None if value is None else round(value, 6) for key, value in row.measures().items()}
    volumes = {"truth_ml": row.truth_ml, "predicted_ml": row.predicted_ml}
    return {
        "case": row.case,
        "patient_id": row.patient_id,
        "structure": row.structure,
        **{"tp": row.tp, "fp": row.fp, "fn": row.fn, "tn": row.tn},
        **values,
        **{key: None if value is None else round(value, 6) for key, value in volumes.items()},
    }
