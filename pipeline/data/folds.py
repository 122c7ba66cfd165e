"""Spread patients over folds so that every label is spread as evenly as it can be. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np

from ..errors import UserError


def assign_folds(labels_of: Mapping[str, Set[int]], *, folds: int = 5, seed: int = 0) -> dict[str, int]:
    """A fold for each patient.

    Args:
        labels_of: patient → label values that occur in any of the patient's masks.
        folds: how many, at most the number of patients; 1 leaves nothing to validate on.
        seed: the same seed and patients give the same folds, in whatever order the patients come.
    Returns: patient → fold, from 0; fold sizes differ by at most one patient.
    Raises: UserError when there are fewer patients than folds.
    Source: iterative stratification, Sechidis, Tsoumakas and Vlahavas 2011: the rarest label is dealt out first, each of its
        patients to the fold that still wants the most of it.
    """
    if not 1 <= folds <= len(labels_of):
        raise UserError(
            f"{folds} folds of {len(labels_of)} patients: every fold needs at least one patient",
            where="--folds",
            next=f"Ask for --folds {len(labels_of)} or fewer, or say with --patient or --patients whose the cases are.",
        )
    random = np.random.default_rng(seed)
    waiting = [str(patient) for patient in random.permutation(sorted(labels_of))]
    room = [len(waiting) // folds + (fold < len(waiting) % folds) for fold in range(folds)]
    everywhere = set().union(*labels_of.values())
    wanted = {label: [sum(label in s for s in labels_of.values()) / folds] * folds for label in everywhere}
    chosen: dict[str, int] = {}
    while waiting:
        counts = {label: n for label in everywhere if (n := sum(label in labels_of[p] for p in waiting))}
        rarest = min(counts, key=lambda label: (counts[label], label)) if counts else None
        for patient in [p for p in waiting if rarest is None or rarest in labels_of[p]]:
            open_folds = [fold for fold in range(folds) if room[fold]]
            fold = max(open_folds, key=lambda f: (0.0 if rarest is None else wanted[rarest][f], room[f], -f))
            chosen[patient] = fold
            room[fold] -= 1
            waiting.remove(patient)
            for label in labels_of[patient]:
                wanted[label][fold] -= 1
    return chosen
