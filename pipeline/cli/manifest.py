"""`unet manifest`: describe a data set in one JSON file, with a page to fill beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """Describe a labelled data set: files, patients, folds, labels, hashes.

SOURCE is recognised by what it holds:
  a folder with imagesTr/ and labelsTr/ (Decathlon; nnU-Net raw), with or without dataset.json
  a folder with images/ and masks/ (or labels/), NIfTI, PNG or TIFF
  a CSV file with the columns image,label[,case,patient_id,fold,modality,series,volume]
  ("|" between several files)
  a tree of DICOM series with RTSTRUCT, SEG or NIfTI masks"""
EXAMPLE = "unet manifest scans/ --name liver --labels liver=1,tumour=2 --patient '^(patient_\\d+)'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder or CSV file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--out", metavar="FILE", type=Path, help="the JSON file; NAME.md is put beside it")
    where.add_argument("--name", help="short for -o data_manifests/NAME.json (default: the source's name)")
    parser.add_argument("--labels", metavar="NAME=VALUE,...", help="what the mask values mean; background=VALUE if it is not 0")
    parser.add_argument("--overlapping", action="store_true", help="a voxel may belong to several structures")
    parser.add_argument(
        "--structure",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="RTSTRUCT and SEG: which names have which value; NAME may hold * and ?; can be repeated",
    )
    parser.add_argument(
        "--patient", metavar="REGEX", default="", help="one group: the part of a case's name that names the patient"
    )
    parser.add_argument("--patients", metavar="CSV", type=Path, help="columns case,patient_id")
    parser.add_argument(
        "--masks", choices=("seg", "rtstruct", "nifti"), default="", help="DICOM series: which kind of mask to take"
    )
    parser.add_argument("--folds", metavar="N", type=int, default=5, help="number of folds, by patient (default 5)")
    parser.add_argument("--fold-of", metavar="CSV", type=Path, help="columns case,fold: folds as you want them")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the folds (default 0)")
    parser.add_argument("--pixel-size", metavar="MM|unknown", help="pictures: side of a pixel in mm, or the word unknown")
    parser.add_argument(
        "--modality", metavar="CODE", default="", help="CT, MR, ... where the files do not say; picks from DICOM"
    )


def run(arguments: argparse.Namespace) -> int:
    from ..data.build_manifest import Request, build_manifest
    from ..data.dataset_json import modality_code
    from ..data.manifest import write_manifest
    from ..data.manifest_page import write_page
    from ..labels import parse_labels

    out = _out(arguments)
    request = Request(
        name=out.stem,
        labels=parse_labels(arguments.labels) if arguments.labels else {},
        overlapping=arguments.overlapping,
        structures=parse_labels(",".join(arguments.structure)) if arguments.structure else {},
        patient_pattern=arguments.patient,
        patients=arguments.patients,
        folds=arguments.folds,
        fold_of=arguments.fold_of,
        seed=arguments.seed,
        pixel_size_mm=_pixel_size_mm(arguments.pixel_size),
        pixel_size_unknown=arguments.pixel_size == "unknown",
        modality=modality_code(arguments.modality),
        masks=arguments.masks,
    )
    built = build_manifest(arguments.source, request)
    write_manifest(built.manifest, out)
    fresh = write_page(built, out.with_suffix(".md"))
    manifest = built.manifest
    patients = len({case.patient_id for case in manifest.cases})
    print(f"{arguments.source}: {built.kind}")
    print(
        f"{len(manifest.cases)} cases of {patients} patients in {len(manifest.folds)} folds; {', '.join(manifest.table.names)}"
    )
    for notice in built.notices:
        print(f"note: {notice}")
    print(f"{out} written" + (f"; {out.with_suffix('.md')} asks for source and licence" if fresh else ""))
    print(f"next: unet check {out}")
    return 0


def _out(arguments: argparse.Namespace) -> Path:
    from ..errors import UserError

    if arguments.out is None:
        name = arguments.name or arguments.source.resolve().name.split(".")[0]
        return Path("data_manifests") / f"{name}.json"
    out: Path = arguments.out
    if out.suffix != ".json":
        raise UserError(f"'{out}' does not end in .json", where="-o", next=f"Example: -o {out.with_suffix('.json')}")
    return out


def _pixel_size_mm(text: str | None) -> float | None:
    from ..errors import UserError

    if text is None or text == "unknown":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"'{text}' is no number", where="--pixel-size", next="Type a length in mm, or unknown.") from error
