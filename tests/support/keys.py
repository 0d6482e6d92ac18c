"""Deterministic keys, ids and "random" bytes for tests: nothing in here is secret or random.

The invariant: the same name always gives the same key, so that a failing test fails again.
"""

import hashlib
from functools import cache

from safelight_vault.format.chunk import DedupKeys
from safelight_vault.format.configuration import dedup_key_info
from safelight_vault.format.crypto import Identity, SigningKey
from safelight_vault.format.enrolment import Certificate, encode_certificate
from safelight_vault.format.names import ID_SIZE
from safelight_vault.format.run_key import RunKey

VAULT_ID = bytes.fromhex("5afe11647e5700000000000000000001")
OTHER_VAULT_ID = bytes.fromhex("5afe11647e5700000000000000000002")
SOURCE_ID = bytes.fromhex("50c0e000000000000000000000000001")
DEDUP_KEY = hashlib.sha256(b"safelight tests, dedup key").digest()
DEDUP_KEYS = DedupKeys.derive(DEDUP_KEY, VAULT_ID)

MOMENT_US = 1_790_000_000_000_000
"""A fixed time in microseconds since 1970 UTC (September 2026)."""


def fixed_bytes(label: str, size: int = 32) -> bytes:
    """The same ``size`` bytes for the same label, on every machine."""
    return hashlib.shake_256(b"safelight tests, " + label.encode()).digest(size)


@cache
def identity(name: str = "first") -> Identity:
    """An identity that tests may know by name."""
    return Identity(fixed_bytes(f"identity {name}"))


@cache
def signing_key(name: str = "agent") -> SigningKey:
    """A signing key; ``administrator`` signs certificates, ``agent`` is the usual agent."""
    return SigningKey(fixed_bytes(f"signing key {name}"))


def agent_id(name: str = "agent") -> bytes:
    """The id of the agent that signs with the key of this name."""
    return signing_key(name).verifying_key.fingerprint[:ID_SIZE]


def administrator_fingerprint() -> bytes:
    """The trust root of the tests' vault."""
    return signing_key("administrator").verifying_key.fingerprint


def run_key(
    name: str = "run", *, recipients: tuple[str, ...] = ("first",), vault_id: bytes = VAULT_ID
) -> RunKey:
    """An open run key, sealed to the identities of these names; the same one at every call.

    Its id and secret are fixed; the stanzas differ from process to process, because HPKE draws its
    own randomness.
    """
    return _run_key(name, recipients, vault_id)


@cache
def _run_key(name: str, recipients: tuple[str, ...], vault_id: bytes) -> RunKey:
    return RunKey.create(
        vault_id,
        fixed_bytes(f"run id {name}", ID_SIZE),
        fixed_bytes(f"run secret {name}"),
        [identity(recipient).recipient for recipient in recipients],
    )


def certificate(name: str = "agent", *, administrator: str = "administrator") -> bytes:
    """The certificate object of an agent, as the administrator of this name signs it."""
    return _certificate(name, administrator)


@cache
def _certificate(name: str, administrator: str) -> bytes:
    agent = Certificate(
        label=name,
        verifying_key=signing_key(name).verifying_key,
        sealing_key=identity(f"sealing {name}").recipient,
        enrolled_us=MOMENT_US,
        epoch=1,
        administrator=signing_key(administrator).verifying_key,
        sealed_dedup_key=identity(f"sealing {name}").recipient.seal(
            DEDUP_KEY, dedup_key_info(VAULT_ID)
        ),
    )
    return encode_certificate(VAULT_ID, agent, signing_key(administrator))


class CountingRandom:
    """A source of "random" bytes that never gives the same ones twice, and remembers them all.

    Pass it where ``os.urandom`` is expected: ``CountingRandom()(32)``.
    """

    def __init__(self, label: str = "random") -> None:
        self._label = label
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        data = fixed_bytes(f"{self._label} {len(self.given)}", size)
        self.given.append(data)
        return data
