"""Frozen vectors while they are made: their files, their index, and the proof of their outcomes.

The invariant: no vector is kept whose outcome is not the one that it is said to have.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vector_index
from keys import DEDUP_KEY, VAULT_ID, administrator_fingerprint, identity, signing_key
from safelight_vault.errors import VaultError
from safelight_vault.format.crypto import SIGNATURE_SIZE, SigningKey
from vector_readers import READERS, outcome_of

IDENTITIES = ("first", "second", "third", "stranger", "sealing agent")
SIGNERS = ("agent", "other agent", "administrator", "other administrator")


class Collection:
    """The vectors on their way: files, and lines of the index."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[dict[str, Any]] = []
        self.identities = {name: identity(name).seed for name in IDENTITIES}
        self._long_values: dict[str, str] = {}
        self.signers = {name: signing_key(name).seed for name in SIGNERS}

    def file(self, path: str, data: bytes) -> str:
        """Write a new file."""
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(data)
        return path

    def add(
        self,
        name: str,
        kind: str,
        data: bytes | None = None,
        *,
        about: str,
        expected: str = "success",
        **rest: Any,
    ) -> None:
        """A vector: a file of its own with these bytes or, without, the ``file`` that is given.

        ``rest`` are further fields of its line: ``file``, ``given``, and
        those of :class:`Vector` for a change.
        """
        line = {"name": name, "kind": kind, "about": about, "expected": expected, **rest}
        if data is not None:
            line["file"] = self.file(f"{name}.bin", data)
        self.lines.append(line)

    def damaged(self, of: str, flips: Mapping[str, int], expected: str = "corrupt") -> None:
        """Of a vector: each of these bytes turned, the last byte gone, a byte more."""
        line = next(line for line in self.lines if line["name"] == of)
        same = {key: line[key] for key in ("kind", "file", "given") if key in line}
        for what, position in flips.items():
            about = f"{of} with another {what}"
            tag = what.replace(" ", "-")
            self.add(f"{of}/{tag}", about=about, expected=expected, flip=position, **same)
        about = f"{of} without its last byte"
        self.add(f"{of}/cut", about=about, expected=expected, cut=1, **same)
        about = f"{of} and one byte more"
        self.add(f"{of}/longer", about=about, expected=expected, append="00", **same)

    def signed_again(
        self, name: str, of: str, put: tuple[int, bytes], signer: SigningKey, *, about: str
    ) -> None:
        """A signed object with other bytes at one place, and a signature that fits: corrupt."""
        line = next(line for line in self.lines if line["name"] == of)
        data = bytearray((self.directory / line["file"]).read_bytes())
        at, changed = put
        data[at : at + len(changed)] = changed
        signature = signer.sign(bytes(data[:-SIGNATURE_SIZE]))
        file = self.file(f"{name}.signature.bin", signature)
        rest: dict[str, Any] = {key: line[key] for key in line if key in {"kind", "file", "given"}}
        rest |= {"put": [at, changed.hex()], "signature": file}
        self.add(name, about=about, expected="corrupt", **rest)

    def write_index(self) -> None:
        """Write the index as it stands."""
        head = [
            "# The frozen test vectors: see docs/format.md, section 14.",
            "# Every key in here is known to everybody and protects nothing.",
            f"vault = {toml(VAULT_ID.hex())}",
            f"administrator = {toml(administrator_fingerprint().hex())}",
            f"dedup_key = {toml(DEDUP_KEY.hex())}",
            table("identities", {name: seed.hex() for name, seed in self.identities.items()}),
            table("signers", {name: seed.hex() for name, seed in self.signers.items()}),
        ]
        lines = [table("[vector]", line) for line in self.lines]
        path = self.directory / "index.toml"
        path.write_text("\n".join([*head, *lines]), encoding="utf-8")

    def _shared(self, path: str, text: str) -> str:
        """A file for a long value; one for all vectors that have the same."""
        known = self._long_values.setdefault(text, path)
        return self.file(path, text.encode()) if known == path else known

    def find_values(self) -> None:
        """Let the product decode everything: note what successes say, refuse what surprises."""
        self.write_index()
        for line, vector in zip(self.lines, vector_index.vectors(), strict=True):
            try:
                value = READERS[vector.kind](vector)
                outcome = "success"
            except VaultError as error:
                value = {}
                outcome = outcome_of(error)
            if outcome != vector.expected:
                raise SystemExit(f"{vector.name}: {outcome}, not {vector.expected}")
            if len(toml(value)) > 10_000:
                text = "".join(table(f"[{name}]", item) for name in value for item in value[name])
                value = {"file": self._shared(f"{vector.name}.expected.toml", text)}
            if value:
                line["value"] = value
        self.write_index()


def table(head: str, items: Mapping[str, Any]) -> str:
    """A table of TOML."""
    lines = [f"{key(name)} = {toml(value)}" for name, value in items.items()]
    return "\n".join(["", f"[{head}]", *lines, ""])


def key(name: str) -> str:
    """A key of TOML."""
    return name if name.replace("_", "").isalnum() else json.dumps(name)


def toml(value: Any) -> str:
    """A value of TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key(name)} = {toml(item)}" for name, item in value.items()) + " }"
        )
    raise TypeError(type(value))
