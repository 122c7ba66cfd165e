"""The page beside a manifest: facts filled in, source and licence for people to fill. Knows nothing of files' contents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..io.paths import write_text
from .build_manifest import Built

TEMPLATE = """# {name}

Fill in what stands in brackets: nobody else can. `unet manifest` never writes over this page.

- **What it shows**: [region, disease, device, protocol]
- **Source**: [hospital, archive or address; who gave it; when]
- **Licence and permission**: [licence; ethics vote; whether it may be shared, and models trained on it]
- **To cite**: [paper, DOI]
- **Labels drawn by**: [who, with which tool, checked by whom; what a structure includes and what not]
- **Known faults**: [missing contours, cropped fields of view, artefacts]

## Facts when the manifest was made

| | |
| --- | --- |
| layout | {kind} |
| cases | {cases} of {patients} patients |
| modality | {modality} |
| shape, smallest to largest | {smallest} to {largest} voxels |
| spacing, smallest to largest | {spacing} |
| cases in each fold | {folds} |
| digest | `{digest}` |

| value | structure | voxels | cases |
| --- | --- | --- | --- |
{labels}
"""


def write_page(built: Built, path: Path) -> bool:
    """Write the page unless there is one. Returns: whether it was written."""
    if path.exists():
        return False
    write_text(path, page(built))
    return True


def page(built: Built) -> str:
    """The page as Markdown."""
    manifest = built.manifest
    shapes = [case.shape for case in manifest.cases]
    folds = Counter(case.fold for case in manifest.cases)
    table = manifest.table
    rows = [] if table.overlapping else [(table.background, "background")]
    rows += [(s.value, s.name) for s in table.structures]
    return TEMPLATE.format(
        name=manifest.name,
        kind=built.kind,
        cases=len(manifest.cases),
        patients=len({case.patient_id for case in manifest.cases}),
        modality=", ".join(sorted({case.modality or "not known" for case in manifest.cases})),
        smallest=_times([min(sizes) for sizes in zip(*shapes, strict=True)]),
        largest=_times([max(sizes) for sizes in zip(*shapes, strict=True)]),
        spacing=_spacing(built),
        folds=", ".join(f"{fold}: {folds[fold]}" for fold in manifest.folds),
        digest=manifest.digest,
        labels="\n".join(
            f"| {value} | {name} | {built.voxels.get(value, 0):,} | {built.cases_with.get(value, 0)} |" for value, name in rows
        ),
    )


def _times(numbers: list[int]) -> str:
    return " x ".join(str(number) for number in numbers)


def _spacing(built: Built) -> str:
    known = [case.spacing_mm for case in built.manifest.cases if case.spacing_known]
    if not known:
        return "not known: no millimetres are claimed"
    low, high = ([f(lengths) for lengths in zip(*known, strict=True)] for f in (min, max))
    return f"{' x '.join(f'{mm:g}' for mm in low)} to {' x '.join(f'{mm:g}' for mm in high)} mm"
