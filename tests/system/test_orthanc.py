"""The way from a real archive and back, as docs/archive.md tells it: Orthanc, DCMTK's storescu, our commands in between."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_runs import thresholding_bundle
from made_series import noise, save, volume_datasets

from pipeline.io.read import read_volume

ROOT = Path(__file__).resolve().parents[2]
PATIENT = {
    "PatientName": "Doessel^Janette",
    "PatientID": "PAT-4711",
    "PatientBirthDate": "19700423",
    "PatientSex": "F",
    "StudyDate": "20240229",
    "StudyTime": "101500",
    "StudyID": "1",
    "StudyDescription": "Abdomen of Doessel",
    "SeriesDescription": "portal venous",
    "AccessionNumber": "ACC998877",
    "ReferringPhysicianName": "",
}
SERIES_UID = "1.2.826.0.1.3680043.8.498.55667788.12345678"
SECRETS = ("doessel", "janette", "pat-4711", "pat4711", "19700423", "20240229", "acc998877")
START_S = 30


@dataclass(frozen=True)
class Archive:
    """An Orthanc of our own on the loopback."""

    http: int
    dicom: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return answer.read()

    def list(self, path: str) -> list[str]:
        return json.loads(self.get(path))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def orthanc() -> str:
    """Debian puts it where only root's PATH looks."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin") or ""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    if not orthanc():
        pytest.skip("Orthanc is not installed (apt install orthanc)")
    if not shutil.which("storescu"):
        pytest.skip("storescu is not installed (apt install dcmtk)")
    folder, ours = tmp_path_factory.mktemp("orthanc"), Archive(http=free_port(), dicom=free_port())
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": ours.http,
        "DicomPort": ours.dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([orthanc(), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            try:
                ours.get("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield ours
    finally:
        process.terminate()
        process.wait(timeout=30)


def typed(page: Path) -> list[str]:
    """The commands of the page's first block."""
    block = re.search(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if line and not line.startswith("#")]


def run(line: str, archive: Archive, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of the page, typed in `folder`, at our archive's ports and without curl."""
    line = line.replace("localhost:8042", f"127.0.0.1:{archive.http}").replace("localhost 4242", f"127.0.0.1 {archive.dicom}")
    line = line.replace("unet ", f"{shlex.quote(sys.executable)} -m pipeline ", 1) if line.startswith("unet ") else line
    if line.startswith("curl -o "):
        _, _, name, address = shlex.split(line)
        urllib.request.urlretrieve(address, folder / name)
        line = "true"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_series_is_fetched_segmented_and_its_mask_sent_back_byte_for_byte(archive: Archive, tmp_path: Path) -> None:
    thresholding_bundle(tmp_path / "made", modality="CT", at=500)
    (tmp_path / "bundles").mkdir()
    shutil.copytree(tmp_path / "made" / "bundle", tmp_path / "bundles" / "NAME")
    series = save(volume_datasets(noise(6, 24, 28), series=SERIES_UID, **PATIENT), tmp_path / "scanner")
    stored = run(f"storescu -aec ORTHANC localhost 4242 +sd +r {series}", archive, tmp_path)
    assert stored.returncode == 0, stored.stderr
    (ours,) = archive.list("/series")
    work = tmp_path / "ward"
    work.mkdir()
    (work / "bundles").symlink_to(tmp_path / "bundles")

    fetch, inspect, predict, send = typed(ROOT / "docs" / "archive.md")
    said = []
    assert run(fetch.replace("/ID/", f"/{ours}/"), archive, work).returncode == 0
    with zipfile.ZipFile(work / "series.zip", "a") as sent:  # the trap: the archive's folders carry the patient's name
        assert all("Doessel" in name for name in sent.namelist())
        sent.writestr(f"{sent.namelist()[0].rpartition('/')[0]}/cut off", b"")  # something to be said about a file
    for line in (inspect, predict):
        done = run(line, archive, work)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout + done.stderr)
        assert "cut off (empty file)" in said[-1]
    folder = work / "predictions" / "series4_12345678"
    assert [path.name for path in (work / "predictions").iterdir()] == [folder.name]
    for path in folder.iterdir():
        content = b"" if path.name == "mask.seg.dcm" else path.read_bytes()  # filed by the patient, so it holds the patient
        said.append(path.name + content.decode("latin-1"))
    assert [secret for secret in SECRETS if any(secret in text.lower() for text in said)] == []

    done = run(send, archive, work)
    assert done.returncode == 0, done.stderr
    (arrived,) = set(archive.list("/series")) - {ours}
    about = json.loads(archive.get(f"/series/{arrived}"))
    assert about["MainDicomTags"]["Modality"] == "SEG" and "IsStable" in about  # as the page says
    assert about["ParentStudy"] == json.loads(archive.get(f"/series/{ours}"))["ParentStudy"]  # beside the images
    (work / "back.dcm").write_bytes(archive.get(f"/instances/{about['Instances'][0]}/file"))
    back, kept = pydicom.dcmread(work / "back.dcm"), pydicom.dcmread(folder / "mask.seg.dcm")
    assert back.PixelData == kept.PixelData and len(kept.PixelData) > 0
    assert back.SOPInstanceUID == kept.SOPInstanceUID
    sources = {item.ReferencedSOPInstanceUID for item in back.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert sources == {f"{SERIES_UID}.{number}" for number in range(1, 7)}


def test_what_the_archive_gives_back_is_the_volume_that_was_stored(archive: Archive, tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.55667788.87654321"
    tilted = volume_datasets(noise(5, 12, 10, seed=3), series=uid, step=(0, 1.0, 4.0), SeriesNumber=9, **PATIENT)
    series = save(tilted, tmp_path / "scanner")
    assert run(f"storescu -aec ORTHANC localhost 4242 +sd +r {series}", archive, tmp_path).returncode == 0
    found = [
        one
        for one in archive.list("/series")
        if json.loads(archive.get(f"/series/{one}"))["MainDicomTags"]["SeriesInstanceUID"] == uid
    ]
    (tmp_path / "series.zip").write_bytes(archive.get(f"/series/{found[0]}/archive"))
    before, after = read_volume(series), read_volume(tmp_path / "series.zip")
    np.testing.assert_array_equal(before.array, after.array)
    np.testing.assert_allclose(before.affine, after.affine)
    assert before.source.short_name == after.source.short_name == "series9_87654321"
