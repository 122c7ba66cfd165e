"""What an object made from a series says of patient, study and equipment. Knows nothing of masks.

Everything is copied by name from the source's header, as text, when it keeps DICOM's rules; what breaks them (an age of "0Y", a
study ID of 20 characters) is left empty, so that an archive does not reject the new object for the old one's faults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import UserError
from ..io.dicom.elements import get, text
from ..io.dicom.headers import SliceHeader, source_headers
from ..io.volume import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UTF_8 = "ISO_IR 192"  # the Specific Character Set of everything that is written
# Must be there, may be empty (type 2).
ALWAYS = {
    "PatientName": "PN",
    "PatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
    "PositionReferenceIndicator": "LO",
}
# Copied where they are there (type 3).
WHERE_KNOWN = {
    "IssuerOfPatientID": "LO",
    "StudyDescription": "LO",
    "PatientAge": "AS",
    "PatientSize": "DS",
    "PatientWeight": "DS",
}
SEXES = ("M", "F", "O")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A series' own patient, study and frame of reference, and the slices that a new object refers to."""

    headers: tuple[SliceHeader, ...]  # one a source slice, along +normal
    attributes: Mapping[str, str]  # keyword → value, of patient and study
    study_uid: str
    series_uid: str
    series_number: int
    frame_of_reference_uid: str

    def slices_by_reference(self) -> dict[tuple[str, int | None], int]:
        """(SOP Instance UID, frame number or None), as items refer to slices → the slice's position."""
        return {(header.frame.sop_uid, header.frame_number): k for k, header in enumerate(self.headers)}


def study_of(source: Source) -> Study:
    """The study that a volume belongs to.

    Raises: UserError where the series has no UIDs to refer to, or its files changed since they were read.
    """
    headers = source_headers(source)
    first = headers[0].dataset
    if not source.series_uid or not all(h.frame.sop_uid and h.frame.sop_class for h in headers):
        what = "the series lacks the UIDs (series, SOP class or SOP Instance) that DICOM objects refer to"
        raise UserError(what, where=source.path, next="Leave the DICOM formats out: --no-seg, and no --rtstruct.")
    attributes = {keyword: _valid(first, keyword, vr) for keyword, vr in ALWAYS.items()}
    attributes |= {keyword: value for keyword, vr in WHERE_KNOWN.items() if (value := _valid(first, keyword, vr))}
    return Study(
        headers=headers,
        attributes=attributes,
        study_uid=text(first, "StudyInstanceUID") or made_uid("study", source.series_uid),
        series_uid=source.series_uid,
        series_number=source.series_number or 0,
        frame_of_reference_uid=headers[0].frame.frame_of_reference_uid or made_uid("frame of reference", source.series_uid),
    )


def made_uid(*parts: str | bytes) -> str:
    """A UID that follows from its parts, so that equal predictions become equal objects."""
    from pydicom.uid import generate_uid

    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return str(generate_uid(entropy_srcs=["unet", digest.hexdigest()]))


def add_study(dataset: Dataset, study: Study) -> None:
    """Patient, general study and frame of reference of a new object."""
    dataset.SpecificCharacterSet = UTF_8
    for keyword, value in study.attributes.items():
        setattr(dataset, keyword, value)
    dataset.StudyInstanceUID = study.study_uid
    dataset.FrameOfReferenceUID = study.frame_of_reference_uid


def add_equipment(dataset: Dataset, provenance: Mapping[str, str], written: datetime) -> None:
    """Who made the object, and when."""
    dataset.Manufacturer, dataset.ManufacturerModelName = "unet", "unet"
    dataset.SoftwareVersions = __version__
    dataset.DeviceSerialNumber = device(provenance)
    dataset.SeriesDescription = described(provenance)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = written.strftime("%Y%m%d"), written.strftime("%H%M%S")


def described(provenance: Mapping[str, str]) -> str:
    """'unet: NAME VERSION', within the 64 characters of a series description."""
    words = ("unet:", provenance.get("bundle", "mask"), provenance.get("bundle_version", ""))
    return " ".join(words).replace("\\", "/")[:64].strip()


def device(provenance: Mapping[str, str]) -> str:
    """What stands for a serial number: the beginning of the bundle's hash."""
    return provenance.get("bundle_sha256", "")[:16] or "none"


def reference(header: SliceHeader) -> Dataset:
    """An item that refers to a slice: SOP class, SOP Instance, and the frame where its object has several."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.frame.sop_class, header.frame.sop_uid
    if header.frame_number is not None:
        item.ReferencedFrameNumber = header.frame_number
    return item


def instances(headers: Sequence[SliceHeader]) -> list[Dataset]:
    """One reference an object (not a frame), each once, in the slices' order."""
    from pydicom.dataset import Dataset

    items = []
    for uid, sop_class in {header.frame.sop_uid: header.frame.sop_class for header in headers}.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        items.append(item)
    return items


def _valid(dataset: Dataset, keyword: str, vr: str) -> str:
    """The value as text, '' where it is absent or breaks the rules of its kind."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    value = text(dataset, keyword) if get(dataset, keyword) is not None else ""
    if "\\" in value or not value.isprintable() or (keyword == "PatientSex" and value not in SEXES):
        return ""
    try:
        validate_value(vr, value, RAISE)
        if vr == "DA" and value:
            datetime.strptime(value, "%Y%m%d")  # the 30th of February has the right form
    except ValueError:
        return ""
    return value
