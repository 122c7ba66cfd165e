"""Find the cases of a data set in a folder or CSV file, whatever its layout. Reads names and tables, never voxels."""

from __future__ import annotations

from pathlib import Path

from ..errors import Notice, UserError
from ..io.nifti import looks_like_nifti
from ..io.paths import existing
from ..io.picture import looks_like_picture
from .dataset_json import described_labels, described_modality, read_description
from .found import MASK_ENDINGS, FoundCase, FoundSet, stem, told
from .source_csv import cases_from_csv

IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "labels", "mask", "label", "annotations")


def find_cases(source: Path | str, *, modality: str = "", masks: str = "", labels_stated: bool = False) -> FoundSet:
    """Recognise the layout of a source by what it holds, and list its cases.

    Args:
        source: a folder or a CSV file.
        modality: of a tree of DICOM series, take this modality only.
        masks: of a tree of DICOM series, take this kind of mask only.
        labels_stated: the user names the values: a dataset.json is not asked for them.
    Raises: UserError where no layout fits (with what was looked for) or no image has a mask.
    """
    source = existing(source)
    if source.is_file():
        return cases_from_csv(source)
    if (source / "imagesTr").is_dir():
        return _decathlon_or_nnunet(source, labels_stated)
    pair = _image_and_mask_folders(source)
    if pair is not None:
        cases, notices = _paired(*pair, channels=False)
        return FoundSet(kind=f"folders {pair[0].name}/ and {pair[1].name}/", root=source, cases=cases, notices=notices)
    from .source_dicom import find_dicom_cases  # pydicom only where it is needed

    return find_dicom_cases(source, modality=modality, masks=masks)


def _image_and_mask_folders(source: Path) -> tuple[Path, Path] | None:
    images = [source / name for name in IMAGE_FOLDERS if (source / name).is_dir()]
    masks = [source / name for name in MASK_FOLDERS if (source / name).is_dir()]
    if not images or not masks:
        return None
    if len(masks) > 1:
        what = f"masks could lie in {' or '.join(folder.name for folder in masks)}"
        raise UserError(what, where=source, next="Keep one of these folders, or list the files in a CSV (image,label).")
    return images[0], masks[0]


def _decathlon_or_nnunet(source: Path, labels_stated: bool) -> FoundSet:
    images, masks = source / "imagesTr", source / "labelsTr"
    if not masks.is_dir():
        raise UserError("there is a folder imagesTr but no labelsTr", where=source, next="Put the masks into labelsTr/.")
    described = read_description(source / "dataset.json")
    stems = [stem(file) for file in _image_files(images)[0]]
    channels = "channel_names" in described or (bool(stems) and not described and all(_channel(name) for name in stems))
    kind = "nnU-Net raw folder" if channels else "Decathlon folder"
    kind += " (imagesTr, labelsTr, dataset.json)" if described else " (imagesTr, labelsTr; no dataset.json)"
    cases, notices = _paired(images, masks, channels=channels)
    modality = described_modality(described)
    return FoundSet(
        kind=kind,
        root=source,
        cases=tuple(FoundCase(case=c.case, image=c.image, label=c.label, modality=modality) for c in cases),
        labels={} if labels_stated else described_labels(described, source / "dataset.json"),
        notices=notices,
    )


def _channel(name: str) -> str:
    """The channel of an nnU-Net file stem ("0000"), or ""."""
    tail = name[-5:]
    return tail[1:] if tail[:1] == "_" and tail[1:].isdigit() and len(tail) == 5 else ""


def _paired(images: Path, masks: Path, *, channels: bool) -> tuple[tuple[FoundCase, ...], tuple[Notice, ...]]:
    """Images and masks of equal name; what has no partner is told, not refused."""
    image_files, strange_images = _image_files(images)
    mask_files, strange_masks = _image_files(masks)
    groups: dict[str, list[Path]] = {}
    for file in image_files:
        name = stem(file)
        groups.setdefault(name[:-5] if channels and _channel(name) else name, []).append(file)
    masks_of: dict[str, list[Path]] = {}
    for file in mask_files:
        masks_of.setdefault(stem(file), []).append(file)
    cases, lonely = [], []
    for name, files in groups.items():
        partners = [ending for ending in MASK_ENDINGS if name + ending in masks_of]
        if not partners:
            lonely.append(name)
            continue
        found = masks_of.pop(name + partners[0])
        if len(found) > 1 or (len(files) > 1 and not channels):
            raise UserError(f"several files are named {name}", where=images.parent, next="Give each case its own name.")
        cases.append(FoundCase(case=name, image=tuple(sorted(files)), label=tuple(found)))
    if not cases:
        what = f"no image in {images.name}/ has a mask of the same name in {masks.name}/"
        raise UserError(what, where=images.parent, next="Name the mask like its image, or list both in a CSV (image,label).")
    notices = [
        told("images-without-mask", "image{s} without a mask", lonely),
        told("masks-without-image", "mask{s} without an image", sorted(masks_of)),
        told("files-set-aside", "file{s} that {are} neither NIfTI nor PNG nor TIFF", strange_images + strange_masks),
    ]
    return tuple(sorted(cases, key=lambda c: c.case)), tuple(n for n in notices if n is not None)


def _image_files(folder: Path) -> tuple[list[Path], list[str]]:
    """NIfTI files and pictures of a folder by content, and the names of the rest; hidden files do not count."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    good = [p for p in files if looks_like_nifti(p) or looks_like_picture(p)]
    return good, [p.name for p in files if p not in set(good)]
