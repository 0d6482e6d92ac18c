"""A benchmark's archive: as many bytes of DICOM as asked for, made from real series, always alike.

Variants of a file get new UIDs and flipped pixels, so that every one has the statistics of a real
image and none is equal to another.
"""

import os
import random
import warnings
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

warnings.filterwarnings("ignore", module="pydicom.*")


def real_files(directory: Path | None) -> list[Path]:
    """Uncompressed CT and MR files: of a given directory, or those that pydicom ships."""
    root = directory or Path(pydicom.data.__file__).parent / "test_files"
    return [path for path in sorted(root.rglob("*")) if path.is_file() and _is_suitable(path)]


def _is_suitable(path: Path) -> bool:
    try:
        head = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, ValueError):
        return False
    syntax = getattr(head.file_meta, "TransferSyntaxUID", None)
    return (
        syntax in {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}
        and head.get("Modality") in {"CT", "MR"}
        and head.get("BitsAllocated") == 16
        and "NumberOfFrames" not in head
        and len(head.get("PixelData", b"")) == int(head.Rows) * int(head.Columns) * 2
    )


def build(target: Path, files: list[Path], size_bytes: int) -> tuple[int, int]:
    """Write variants of ``files`` until ``size_bytes`` are there; gives files and bytes."""
    written = count = generation = 0
    while written < size_bytes:
        for path in files:
            if written >= size_bytes:
                break
            study = target / f"{generation:04d}" / f"{files.index(path) // 50:02d}"
            study.mkdir(parents=True, exist_ok=True)
            out = study / f"{count:07d}.dcm"
            _variant(pydicom.dcmread(path), generation).save_as(out)
            written += out.stat().st_size
            count += 1
        generation += 1
    return count, written


def _variant(instance: Dataset, generation: int) -> Dataset:
    if generation == 0:
        return instance
    rows, columns = int(instance.Rows), int(instance.Columns)
    pixels = bytearray(instance.PixelData[: rows * columns * 2])
    if generation & 1:  # left to right
        for row in range(rows):
            line = pixels[row * columns * 2 : (row + 1) * columns * 2]
            pairs = [line[at : at + 2] for at in range(0, len(line), 2)]
            pixels[row * columns * 2 : (row + 1) * columns * 2] = b"".join(reversed(pairs))
    shift = generation // 2 % rows
    pixels = pixels[shift * columns * 2 :] + pixels[: shift * columns * 2]
    instance.PixelData = bytes(pixels)
    chosen = random.Random(f"{generation}/{instance.SOPInstanceUID}")
    instance.SOPInstanceUID = f"2.25.{chosen.getrandbits(100)}"
    instance.SeriesInstanceUID = f"{str(instance.SeriesInstanceUID)[:40].rstrip('.')}.{generation}"
    instance.StudyInstanceUID = f"{str(instance.StudyInstanceUID)[:40].rstrip('.')}.{generation}"
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.PatientID = f"BENCH{generation:05d}"
    return instance


def edit_headers(target: Path, count: int) -> int:
    """Give the patients of the first files another name; gives how many files were edited."""
    paths = sorted(target.rglob("*.dcm"))[:count]
    for path in paths:
        instance = pydicom.dcmread(path)
        instance.PatientName = "Corrected^After^The^Fact"
        instance.save_as(path)
        os.utime(path)
    return len(paths)
