"""Headers are edited every day: patients marry, are merged, are misspelt. Images are not."""

from pathlib import Path

from damage import chunks_by_stream, index_key_of
from dicom_samples import ct_slice
from installed import new_vault
from safelight_vault.format.pack import Stream
from trees import differences

NAMES = ("Ng^A", "Papadopoulos-Featherstonehaugh^Wilhelmina^Alexandrina^^Dr.")
BYTES_PER_FILE_MAX = 2 << 10
BYTES_FIXED_MAX = 64 << 10
FILES_PER_SERIES = 50
ROWS = 96


def write_archive(root: Path, files: int, *, patient_name: str) -> None:
    for number in range(files):
        series = f"1.2.826.0.1.999.3.{number // FILES_PER_SERIES}"
        directory = root / series
        directory.mkdir(parents=True, exist_ok=True)
        data = ct_slice(
            patient_name=patient_name,
            study_uid="1.2.826.0.1.999.3",
            series_uid=series,
            instance_uid=f"{series}.{number}",
            number=number,
            seed=number,
            rows=ROWS,
            columns=ROWS,
        )
        (directory / f"{number:05}.dcm").write_bytes(data)


def test_a_longer_or_shorter_name_stores_headers_and_no_pixels(tmp_path: Path, full: bool) -> None:
    files = 1000 if full else 100
    archive = tmp_path / "archive"
    vault = new_vault(tmp_path / "site")
    agent = vault.agent({"pacs": archive})
    write_archive(archive, files, patient_name="Doe^Jane")
    first = agent.back_up()
    assert first["bytes_stored"] > files * ROWS * ROWS // 2
    index_key = index_key_of(vault.store_directory, vault.identity)
    pixels = chunks_by_stream(vault.store_directory, index_key)[Stream.PIXELS]
    assert pixels == files
    for name in NAMES:
        write_archive(archive, files, patient_name=name)
        edited = agent.back_up()
        assert (edited["files_changed"], edited["files_new"]) == (files, 0)
        assert edited["bytes_stored"] < files * BYTES_PER_FILE_MAX + BYTES_FIXED_MAX
        chunks = chunks_by_stream(vault.store_directory, index_key)
        assert chunks[Stream.PIXELS] == pixels
        assert chunks[Stream.HEADERS] > pixels
    restored = tmp_path / "restored"
    vault.restore(restored).require()
    assert differences(archive, restored / "pacs") == []
