"""How fast, and in how much memory, are DICOM series read: ours beside SimpleITK, MONAI's two readers and dcm2niix.

    python benchmarks/reading.py [--peers PYTHON] [--slices 300] [--size 512] [--repeats 5] [-o reading.json]

Each reading is a process of its own; the readers take turns, so that a busy moment of the machine meets all of them. Seconds
are those of reading alone (imports are done; dcm2niix is a whole process, and writes its NIfTI). Memory is the highest
resident size, our decoding processes included, less what the process had after its imports.

--peers: a Python with monai and itk, where this one lacks itk (1.5 GB, no dependency of ours).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PEERS = ("SimpleITK", "MONAI ITKReader", "MONAI PydicomReader", "dcm2niix")
KINDS = ("uncompressed", "JPEG-LS", "JPEG 2000", "RLE", "Enhanced")


# --- one reading, in a process of its own ---


def ours() -> Callable[[Path], tuple[int, ...]]:
    import nibabel  # noqa: F401 (what a process that hands out masks has loaded anyway)
    import pydicom.pixels  # noqa: F401

    from pipeline.io.read import read_volume

    return lambda folder: read_volume(folder).array.shape


def simpleitk() -> Callable[[Path], tuple[int, ...]]:
    import SimpleITK as sitk

    def read(folder: Path) -> tuple[int, ...]:
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        if len(files) == 1:
            return sitk.ReadImage(files[0]).GetSize()
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        return reader.Execute().GetSize()

    return read


def monai(name: str) -> Callable[[Path], tuple[int, ...]]:
    from monai.transforms import LoadImage

    load = LoadImage(reader=name, image_only=True)
    return lambda folder: tuple(load(folder).shape)


LOADERS: dict[str, Callable[[], Callable[[Path], tuple[int, ...]]]] = {
    "ours": ours,
    "SimpleITK": simpleitk,
    "MONAI ITKReader": lambda: monai("ITKReader"),
    "MONAI PydicomReader": lambda: monai("PydicomReader"),
}


def once(reader: str, folder: Path) -> None:
    """Reads and prints {"seconds", "mb", "shape"}."""
    import psutil

    read = LOADERS[reader]()
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    shape = read(folder)
    seconds = time.perf_counter() - started
    helpers = sum(child.memory_full_info().uss for child in psutil.Process().children(recursive=True))
    peak = highest_resident(psutil.Process().pid) + helpers
    print(json.dumps({"seconds": seconds, "mb": (peak - before) / 2**20, "shape": list(shape)}))


def measured(reader: str, folder: Path, python: str) -> dict[str, object]:
    if reader == "dcm2niix":
        return dcm2niix(folder)
    words = [python if reader in PEERS else sys.executable, __file__, "--once", reader, str(folder)]
    answer = subprocess.run(words, capture_output=True, text=True)
    if answer.returncode:
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        return {"fault": lines[-1][:100] if lines else "died"}
    found: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    return found


def dcm2niix(folder: Path) -> dict[str, object]:
    program = shutil.which("dcm2niix")
    if program is None:
        return {"fault": "dcm2niix is not installed"}
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        process = subprocess.Popen([program, "-z", "n", "-o", out, str(folder)], stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, highest_resident(process.pid))
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        if not list(Path(out).glob("*.nii")):
            return {"fault": "wrote nothing"}
    return {"seconds": seconds, "mb": peak / 2**20}


def highest_resident(process_id: int) -> int:
    """Bytes. Not getrusage's: that begins with the size of the process that started this one."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return max((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), default=0)


# --- the series ---


def write_series(root: Path, slices: int, size: int) -> dict[str, Path]:
    """A noisy body in all packings: what a scanner's noise does to compression is there, smoothness as well."""
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    packings = {"uncompressed": None, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless, "RLE": RLELossless}
    volume = body(slices, size)
    for name, syntax in packings.items():
        (root / name).mkdir()
        for k in range(slices):
            dataset = slice_object(volume[k], k)
            if syntax is not None:
                dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(root / name / f"{k:04d}.dcm", enforce_file_format=True)
    (root / "Enhanced").mkdir()
    enhanced_object(volume).save_as(root / "Enhanced" / "all.dcm", enforce_file_format=True)
    return {name: root / name for name in KINDS}


def body(slices: int, size: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    row, column = np.mgrid[:size, :size] / size - 0.5
    inside = (column / 0.4) ** 2 + (row / 0.3) ** 2 < 1
    volume = np.empty((slices, size, size), dtype=np.uint16)
    for k in range(slices):
        organs = gaussian_filter(random.normal(0, 1, (size, size)), 8) * 400
        values = np.where(inside, 1064 + organs, 24) + random.normal(0, 12, (size, size))
        volume[k] = np.clip(values, 0, 4095)
    return volume


def slice_object(pixels: np.ndarray, k: int):  # type: ignore[no-untyped-def]
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.9.{k + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.7", "1.2.826.0.1.3680043.8.498.8"
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.6"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 2, k + 1
    dataset.PatientID, dataset.ImageType = "bench", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-180, -180, float(k)], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    return dataset


def enhanced_object(volume: np.ndarray):  # type: ignore[no-untyped-def]
    from pydicom.dataset import Dataset

    def item(**attributes: object) -> list[Dataset]:
        dataset = Dataset()
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        return [dataset]

    dataset = slice_object(volume[0], 0)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, keyword)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.NumberOfFrames, dataset.PixelData = len(volume), volume.tobytes()
    dataset.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[0.7, 0.7], SliceThickness=1),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
    )
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=item(StackID="1", InStackPositionNumber=k + 1),
            PlanePositionSequence=item(ImagePositionPatient=[-180, -180, float(k)]),
        )[0]
        for k in range(len(volume))
    ]
    return dataset


# --- the table ---


def compare(folders: dict[str, Path], python: str, repeats: int) -> dict[str, dict[str, dict[str, object]]]:
    """packing → reader → medians."""
    table: dict[str, dict[str, dict[str, object]]] = {}
    for kind, folder in folders.items():
        runs: dict[str, list[dict[str, object]]] = {reader: [] for reader in ("ours", *PEERS)}
        for _ in range(repeats):
            for reader in runs:
                if not any("fault" in run for run in runs[reader]):
                    runs[reader].append(measured(reader, folder, python))
        table[kind] = {reader: summary(found) for reader, found in runs.items()}
        print_rows(kind, table[kind])
    return table


def summary(runs: list[dict[str, object]]) -> dict[str, object]:
    fault = next((run["fault"] for run in runs if "fault" in run), None)
    if fault is not None:
        return {"fault": fault}
    return {key: statistics.median(float(run[key]) for run in runs) for key in ("seconds", "mb")}  # type: ignore[arg-type]


def print_rows(kind: str, rows: dict[str, dict[str, object]]) -> None:
    own = rows["ours"]
    for reader, row in rows.items():
        if "fault" in row:
            print(f"{kind:<13}{reader:<21}{row['fault']}")
            continue
        ratio = float(own["seconds"]) / float(row["seconds"]) if "fault" not in own else float("nan")  # type: ignore[arg-type]
        print(f"{kind:<13}{reader:<21}{row['seconds']:>7.2f} s {row['mb']:>7.0f} MB   ours takes {ratio:.2f} of it", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", nargs=2, metavar=("READER", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, metavar="JSON")
    arguments = parser.parse_args()
    if arguments.once:
        once(arguments.once[0], Path(arguments.once[1]))
        return
    with tempfile.TemporaryDirectory(prefix="reading_") as root:
        folders = write_series(Path(root), arguments.slices, arguments.size)
        volume_mb = arguments.slices * arguments.size**2 * 2 / 2**20
        shape = f"{arguments.size} x {arguments.size} x {arguments.slices}"
        print(f"{shape}, {volume_mb:.0f} MB as int16, medians of {arguments.repeats}")
        table = compare(folders, arguments.peers, arguments.repeats)
    if arguments.out:
        arguments.out.write_text(json.dumps({"volume_mb": volume_mb, "readers": table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
