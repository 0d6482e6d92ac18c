"""The frozen vectors, read by the product: each has exactly the outcome that the index names.

Nothing in here writes. A vector that fails is a change of the format, whatever else it may look
like: old vaults hold these bytes.
"""

from collections import Counter

import pytest

from safelight_vault.errors import VaultError
from vector_index import OUTCOMES, VECTORS, Vector, read_table, vectors
from vector_readers import ENCODERS, READERS, outcome_of

SIZE_MAX = 1 << 20


def by_outcome(*outcomes: str) -> list[Vector]:
    return [vector for vector in vectors() if vector.expected in outcomes]


def named(vector: Vector) -> str:
    return vector.name


@pytest.mark.parametrize("vector", by_outcome("success"), ids=named)
def test_a_good_vector_decodes_to_its_value(vector: Vector) -> None:
    assert READERS[vector.kind](vector) == vector.expected_value()


@pytest.mark.parametrize("vector", by_outcome(*set(OUTCOMES) - {"success"}), ids=named)
def test_a_bad_vector_is_refused_for_what_it_is(vector: Vector) -> None:
    with pytest.raises(VaultError) as refusal:
        READERS[vector.kind](vector)
    assert outcome_of(refusal.value) == vector.expected


def with_one_form() -> list[Vector]:
    """Those that an encoder must write as they are; a spilled list is written by another one."""
    good = by_outcome("success")
    return [vector for vector in good if vector.kind in ENCODERS and "chunks" not in vector.given]


@pytest.mark.parametrize("vector", with_one_form(), ids=named)
def test_a_decoded_vector_is_encoded_to_the_same_bytes(vector: Vector) -> None:
    assert ENCODERS[vector.kind](vector.data()) == vector.data()


def test_every_vector_has_a_name_and_an_outcome_of_its_own() -> None:
    counts = Counter(vector.name for vector in vectors())
    assert [name for name, count in counts.items() if count > 1] == []
    assert {vector.expected for vector in vectors()} == set(OUTCOMES)


def test_every_kind_has_good_and_bad_vectors() -> None:
    assert {vector.kind for vector in vectors()} == set(READERS)
    # What has no bad form: seeds and keys are any 32 bytes, a chunk any bytes, a rule no decoder.
    never_bad = {"identity", "signing-key", "run-key", "dedup-key", "chunk"}
    never_bad |= {"page-cuts", "segment-cuts"}
    good = {vector.kind for vector in by_outcome("success")}
    bad = {vector.kind for vector in vectors() if vector.expected != "success"}
    assert good == set(READERS)
    assert bad == set(READERS) - never_bad


def named_files() -> set[str]:
    """Every file that the index names, directly or in what is given."""
    found = {"index.toml", ".gitattributes"}
    for vector in vectors():
        found.add(vector.file)
        found |= {vector.value["file"]} if "file" in vector.value else set()
        found |= {vector.signature} if vector.signature else set()
        found |= set(vector.given.get("chunks", {}).values())
        for item in [*vector.given.get("objects", []), *vector.given.get("add", [])]:
            found.add(item["file"])
        if vector.kind == "vault":
            found |= {item["file"] for item in read_table(vector.file)["object"]}
    return found


def test_the_index_names_every_file_and_no_other() -> None:
    there = {str(path.relative_to(VECTORS)) for path in VECTORS.rglob("*") if path.is_file()}
    assert there == named_files()


def test_the_vectors_stay_small() -> None:
    assert sum(path.stat().st_size for path in VECTORS.rglob("*") if path.is_file()) < SIZE_MAX


def test_the_sample_vault_holds_every_kind_of_entry() -> None:
    (vector,) = [vector for vector in vectors() if vector.name == "vault/whole"]
    first, second = vector.expected_value()["snapshot"]
    kinds = Counter(entry["kind"] for entry in first["entry"])
    assert set(kinds) == {1, 2, 3, 4}
    assert {entry["dicom"] for entry in first["entry"]} == {0, 1, 2}
    assert any("xattrs" in entry for entry in first["entry"])
    assert any(entry["size"] == 0 for entry in first["entry"] if entry["kind"] == 1)
    assert (first["complete"], second["complete"]) == (True, False)
    assert [failure["path"] for failure in second["failure"]] == [b"locked".hex()]
    assert len(first["instance"]) > 3
