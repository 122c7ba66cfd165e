"""Which cases of a manifest train and which validate. Knows nothing of settings."""

from __future__ import annotations

from ..data.manifest import Case, Manifest
from ..errors import UserError


def split(manifest: Manifest, fold: int | None) -> tuple[list[Case], list[Case]]:
    """Training and validation cases. Raises: UserError for a fold that has no cases, or leaves none to train on."""
    if fold is None:
        return list(manifest.cases), []
    validation = [case for case in manifest.cases if case.fold == fold]
    training = [case for case in manifest.cases if case.fold != fold]
    if not validation or not training:
        folds = ", ".join(map(str, manifest.folds))
        what = f"fold {fold} has no cases" if not validation else f"outside fold {fold} there are no cases to train on"
        raise UserError(what, where=manifest.name, next=f"Folds here: {folds}; 'none' trains on all cases.")
    shared = {case.patient_id for case in training} & {case.patient_id for case in validation}
    if shared:
        raise UserError(
            f"{len(shared)} patients are in training and in validation",
            where=f"{manifest.name}, fold {fold}",
            next="'unet check' names them; 'unet manifest' makes folds by patient.",
        )
    return training, validation
