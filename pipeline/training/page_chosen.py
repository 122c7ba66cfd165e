"""The part of the page on what was chosen after the last epoch: post-processing, temperature, what mirror images bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.postprocess import Steps, from_json
from ..report.page import Page
from .chosen import chosen_facts
from .outcome import Outcome

FEWEST_PIXELS = 100  # of a bin that is drawn: with fewer its share of right ones is off by 0.1 by chance


def add_chosen(page: Page, outcome: Outcome) -> None:
    """Post-processing, calibration and mirror images, as `chosen.json` holds them."""
    data = chosen_facts(outcome.folder)
    if not data:
        page.text("Nothing was chosen: no time was left.", heading="After the last epoch")
        return
    page.text("Chosen on the validated cases, so what it brings there is slightly too good.", heading="After the last epoch")
    _add_postprocessing(page, outcome, data)
    _add_calibration(page, data["calibration"])
    if data["flips"]:
        _add_flips(page, data["flips"])


def _add_postprocessing(page: Page, outcome: Outcome, data: dict[str, Any]) -> None:
    chosen = from_json(data["postprocessing"], outcome.manifest.table)
    if not chosen:
        page.text(f"Post-processing: none. Of {len(data['tried'])} steps that were tried, none helps beyond chance.")
        return
    before, after = data["dice"]["without"], data["dice"]["with"]
    rows = [[name, str(chosen.get(name, Steps())), before.get(name), after.get(name)] for name in outcome.names]
    rows.append(["mean", "", before.get("mean"), after.get("mean")])
    page.table(["structure", "steps", "Dice without", "with"], rows, "Post-processing, in the bundle as well.")


def _add_calibration(page: Page, calibration: dict[str, Any]) -> None:
    if "ece_before" not in calibration:
        page.text("Calibration: no pixel to judge by, since no structure was there or found.")
        return
    bins = {"at temperature 1": calibration["bins_before"], "at the chosen one": calibration["bins_after"]}
    curves = {name: _points(parts) for name, parts in bins.items()}
    page.text(
        f"Calibration error {calibration['ece_before']:.4f}; with the temperature {calibration['temperature']:.3f}, "
        f"{calibration['ece_after']:.4f} ({calibration['pixels']} {calibration['region']}). Below the diagonal the network is "
        "surer than it is right. No mask changes by it."
    )
    page.curves("Reliability", {"as sure as right": [(0, 0), (1, 1)], **curves}, "confidence", "share that is right")
    rows = [
        [f"{number / len(before):.2f} to {(number + 1) / len(before):.2f}", *_cells(before[number]), *_cells(after[number])]
        for before, after in [tuple(bins.values())]
        for number in range(len(before))
        if before[number]["count"] or after[number]["count"]
    ]
    columns = ["confidence", "pixels", "right", "pixels after", "right after"]
    page.table(columns, rows, "How often pixels of a confidence are right, before and after the temperature.")


def _points(bins: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(one["confidence"], one["accuracy"]) for one in bins if one["count"] >= FEWEST_PIXELS]


def _cells(one: dict[str, Any]) -> list[object]:
    return [one["count"], one["accuracy"]]


def _add_flips(page: Page, flips: dict[str, Any]) -> None:
    dice, seconds = flips["dice"], flips["s_per_case"]
    rows = [[way, dice[way].get("mean"), seconds[way]] for way in ("without", "with")]
    axes = " and ".join(flips["axes"])
    page.table(["mirror images", "Dice", "s a case"], rows, f"Averaged over mirror images along {axes}: --flips.")
