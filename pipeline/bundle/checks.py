"""What came out when a bundle's shortcuts were compared with the full computation, for its model card. Compares nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..network.precision import Precision
from ..network.ranges import Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between single precision and another."""

    agreement: float  # share of voxels with one label in both
    dice: Mapping[str, tuple[float | None, float | None]]  # structure → Dice in fp32 and in the other; None: it never occurs

    def __str__(self) -> str:
        each = [f"{name} {b - a:+.5f}" for name, (a, b) in self.dice.items() if a is not None and b is not None]
        return (
            f"{100 * self.agreement:.4f} % of voxels get the same label; Dice differs by "
            f"{', '.join(each) or 'nothing that could be measured'}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Comparisons on some cases of the run, whose names do not travel."""

    cases: int
    unseen: bool  # not trained on
    differences: Mapping[Precision, Difference]
    outside_body: int | None  # voxels labelled in fp32 outside the box around the body; None: not CT, or no body was found
    ranges: tuple[Ranges, ...] = ()  # with which eight bits were compared, of each network; () where they were not

    @property
    def body_box(self) -> bool:
        """Whether leaving out what lies outside the body changed no label."""
        return self.outside_body == 0

    def __str__(self) -> str:
        """Markdown for the model card."""
        kind = "that the network did not see in training" if self.unseen else "of the training: no others were kept apart"
        lines = [f"Checked on {self.cases} case{'s' if self.cases > 1 else ''} {kind}."]
        lines += [f"{precision} against fp32: {difference}" for precision, difference in self.differences.items()]
        if self.outside_body == 0:
            lines.append("Nothing was found outside the body: the air around it is left out (`body_box`).")
        elif self.outside_body:
            lines.append(f"{self.outside_body} voxels were found outside the body, so the whole scan is computed.")
        return "\n".join(lines)
