"""docs/format.md is normative, so it is held against the code: limits, labels, numbers, examples.

The invariant: the document cannot drift. Tables are compared in both directions, so that a constant
or label that is new in the code fails until it is described, and one that is gone fails too.
"""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import pytest

from safelight_agent.chain import source_id_of
from safelight_vault.format.catalogue import Instance, encode_instance
from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.codec import CODECS
from safelight_vault.format.crypto import Identity, SigningKey
from safelight_vault.format.enrolment import agent_id_of
from safelight_vault.format.envelope import MAGIC, Structure
from safelight_vault.format.manifest import DicomState, EntryKind
from safelight_vault.format.names import Kind
from safelight_vault.format.pack import Stream
from safelight_vault.format.padme import padme
from safelight_vault.format.run_key import RunKey, SealedRunKey
from safelight_vault.format.snapshot import RetentionClass, SourceKind
from safelight_vault.key_files import read_identity
from safelight_vault.objects import OBJECT_SIZE_MAX
from vector_index import OUTCOMES, vectors

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "format.md"
VAULT = ROOT / "vault" / "safelight_vault"
SOURCES = (VAULT, ROOT / "agent", ROOT / "restore")

ENUMERATIONS = (Structure, Kind, Stream, EntryKind, DicomState, RetentionClass, SourceKind)

TIMES = "\u00d7"
MINUS = "\u2212"

_CELLS = re.compile(r"(?<!\\)\|")
_SECTION = re.compile(r"format\.md section (\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the document: the cells of its head, and of each row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in _CELLS.split(line.strip())[1:-1])


@cache
def document() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


@cache
def tables() -> tuple[Table, ...]:
    found: list[Table] = []
    block: list[str] = []
    for line in [*document().splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            head, _, *rows = (cells(row) for row in block)
            found.append(Table(head, tuple(rows)))
            block = []
    return tuple(found)


def table(*head: str) -> Table:
    """The one table that begins with these column heads."""
    (found,) = [each for each in tables() if each.head[: len(head)] == head]
    return found


def code(cell: str) -> str:
    """The text between the backticks that a cell consists of."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match is not None, f"{cell!r} is not set as code"
    return match[1]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def modules() -> Iterator[tuple[str, Path]]:
    """Name relative to the vault package, and file, of each module with numbers of the format."""
    for path in [*sorted((VAULT / "format").rglob("*.py")), VAULT / "key_files.py"]:
        parts = path.relative_to(VAULT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def assigned_names(path: Path) -> Iterator[str]:
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))


def constant(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"safelight_vault.{module}"), attribute)


def limits() -> dict[str, int]:
    return {code(row[0]): number(row[1]) for row in table("constant", "value").rows}


@pytest.mark.parametrize("name", sorted(limits()))
def test_a_limit_in_the_document_is_the_one_in_the_code(name: str) -> None:
    assert limits()[name] == constant(name)


def test_every_public_number_of_the_format_is_in_the_document() -> None:
    public = {
        f"{module}.{name}"
        for module, path in modules()
        for name in assigned_names(path)
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
    }
    numbers = {name for name in public if isinstance(constant(name), int)}
    assert len(numbers) > 40
    assert numbers - set(limits()) == set()


def labels_in_code() -> set[bytes]:
    return {
        node.value
        for source in SOURCES
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, bytes)
        and node.value.startswith(b"safelight/")
    }


def test_the_labels_of_the_document_are_those_of_the_code() -> None:
    written = [
        code(row[0]).encode().replace(rb"\x00", b"\x00") for row in table("label", "use").rows
    ]
    assert len(written) == len(set(written))
    assert set(written) == labels_in_code()


def test_every_label_quoted_in_the_text_stands_in_the_table() -> None:
    known = {code(row[0]) for row in table("label", "use").rows}
    quoted = set(re.findall(r'"(safelight/[^"]+)"', document()))
    assert quoted
    assert quoted <= known


@pytest.mark.parametrize("of", ENUMERATIONS, ids=lambda of: of.__name__)
def test_the_numbers_of_an_enumeration_are_those_of_the_document(of: type[Enum]) -> None:
    written = {code(row[1]): row[0].strip("`") for row in table("number", f"`{of.__name__}`").rows}
    assert written == {member.name: str(member.value) for member in of}


def test_the_codecs_of_the_document_are_those_of_the_registry() -> None:
    written = {int(row[0]): code(row[1]).lower() for row in table("number", "`Codec`").rows}
    assert written == {number: codec.name for number, codec in CODECS.items()}


def test_the_magic_of_the_document_is_that_of_the_code() -> None:
    (row,) = [row for each in tables() for row in each.rows if row[2:3] == ("magic",)]
    assert row[:2] == ("0", str(len(MAGIC)))
    assert row[3] == f'`"{MAGIC.decode()}"`'


def linear(text: str) -> dict[str, int] | None:
    """A sum such as ``8 + n`` as the factor of each letter; None if the text is no sum."""
    factors: dict[str, int] = {}
    for term in text.replace(MINUS, "-").split(" + "):
        match = re.fullmatch(rf"(?:(-?\d+))?(?: {TIMES} )?([a-z])?", term)
        if match is None or not term:
            return None
        letter = match[2] or ""
        factors[letter] = factors.get(letter, 0) + int(match[1] or 1)
    return factors


def added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {
        letter: first.get(letter, 0) + second.get(letter, 0) for letter in {"", *first, *second}
    }


def test_the_offsets_of_the_byte_tables_follow_from_the_sizes() -> None:
    wrong, checked = [], 0
    for each in tables():
        if each.head[:2] != ("offset", "size"):
            continue
        for row, following in zip(each.rows, each.rows[1:], strict=False):
            offset, size, after = linear(row[0]), linear(row[1]), linear(following[0])
            if offset is None or size is None or after is None:
                continue
            checked += 1
            if added(offset, size) != added(after, {}):
                wrong.append((each.head, row, following))
    assert checked > 70
    assert wrong == []


SEED = bytes(range(32))
VAULT_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
KEYS = DedupKeys.derive(SEED, VAULT_ID)


def commitment(label: bytes) -> bytes:
    run_key = RunKey(SealedRunKey(bytes(16), ()), VAULT_ID, SEED)
    return run_key.object_key(b"\x07" * 32, label)[1]


ANSWERS: dict[str, Callable[[], bytes]] = {
    "fingerprint of the recipient": lambda: Identity(SEED).recipient.fingerprint,
    "Ed25519 public key": lambda: SigningKey(SEED).verifying_key.public[:32],
    "fingerprint of the verifying key": lambda: SigningKey(SEED).verifying_key.fingerprint,
    "agent id": lambda: agent_id_of(SigningKey(SEED).verifying_key),
    "commitment of the pack whose pack id is 32 bytes `07`": lambda: commitment(
        b"safelight/pack/v1"
    ),
    "commitment of the root whose body id is 32 bytes `07`": lambda: commitment(
        b"safelight/snapshot-root/v1"
    ),
    "key for chunk ids": lambda: KEYS.chunk_id_key,
    "index key": lambda: KEYS.index_key,
    "source id of the source `pacs` of this agent": lambda: source_id_of(
        VAULT_ID, agent_id_of(SigningKey(SEED).verifying_key), "pacs"
    ),
    "splitter seed": lambda: KEYS.splitter_seed.to_bytes(8, "big"),
    'chunk id of `"safelight"`': lambda: KEYS.chunk_id(b"safelight"),
}


def test_the_known_answers_are_what_the_code_computes() -> None:
    written = {row[0]: code(row[1]) for row in table("value", "hex").rows}
    assert written == {name: answer().hex() for name, answer in ANSWERS.items()}


def test_the_longest_object_of_each_kind_is_that_of_the_code() -> None:
    written = {
        kind: number(row[1])
        for row in table("kind", "`longest`").rows
        for kind in re.findall(r"`([a-z]+)`", row[0])
    }
    assert written == {kind.value: size for kind, size in OBJECT_SIZE_MAX.items()}


def test_the_outcomes_of_vectors_are_those_of_the_index() -> None:
    assert tuple(code(row[0]) for row in table("outcome", "meaning").rows) == OUTCOMES


def test_the_kinds_of_vectors_are_those_of_the_index() -> None:
    heads = [row[0] for row in table("kind", "bytes").rows]
    written = [kind for head in heads for kind in re.findall(r"`([a-z-]+)`", head)]
    assert sorted(written) == sorted({vector.kind for vector in vectors()})


def test_the_numbers_of_vectors_are_those_of_the_index() -> None:
    written = {code(row[0]): int(row[1]) for row in table("folder", "vectors").rows}
    assert written == Counter(vector.name.split("/", 1)[0] for vector in vectors())


def test_the_padded_sizes_are_what_the_code_computes() -> None:
    rows = table("content", "`padme`").rows
    assert [number(row[1]) for row in rows] == [padme(number(row[0])) for row in rows]


def test_the_example_of_a_catalogue_key_is_what_the_code_writes() -> None:
    (example,) = re.findall(r'^ +("P1.*")$', document(), re.MULTILINE)
    key, _ = encode_instance(
        Instance(
            path=b"a/b",
            patient_id="P1",
            study_instance_uid="1.2",
            series_instance_uid="1.3",
            sop_instance_uid="1.4",
            patient_name="",
            study_date="",
            study_description="",
            series_description="",
            modality="",
            accession_number="",
        )
    )
    assert ast.literal_eval("b" + example) == key


def test_the_example_of_a_key_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^    # Safelight\. SECRET\.(?:.*\n)+?    checksum.*\n", document(), re.MULTILINE
    )
    path = tmp_path / "identity.key"
    path.write_text(re.sub(r"^    ", "", example, flags=re.MULTILINE))
    path.chmod(0o600)
    file = read_identity(path)
    assert file.identity.seed == SEED
    assert file.trust.vault_id == VAULT_ID
    fingerprint = SigningKey(SEED).verifying_key.fingerprint
    assert file.trust.administrator_fingerprint == fingerprint


def test_every_section_that_the_code_names_is_a_heading() -> None:
    headings = set(re.findall(r"^##+ (\d+(?:\.\d+)?)\.? ", document(), re.MULTILINE))
    named = {
        section
        for path in VAULT.rglob("*.py")
        for section in _SECTION.findall(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert named - headings == set()


def test_every_link_within_the_document_leads_to_a_heading() -> None:
    titles = re.findall(r"^##+ (.+)$", document(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    links = set(re.findall(r"\]\(#([^)]+)\)", document()))
    assert len(links) >= 14
    assert links - anchors == set()
