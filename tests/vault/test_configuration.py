"""A vault's configuration is believed only under the pinned administrator's signature."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import (
    DEDUP_KEY,
    MOMENT_US,
    OTHER_VAULT_ID,
    VAULT_ID,
    administrator_fingerprint,
    identity,
    signing_key,
)
from safelight_vault.errors import (
    CorruptError,
    DecodeError,
    UnsupportedFormatError,
    WrongIdentityError,
)
from safelight_vault.format.configuration import (
    SPLITTER_VERSION,
    VaultConfiguration,
    decode_configuration,
    dedup_key_info,
    encode_configuration,
)
from safelight_vault.format.crypto import RECIPIENT_SIZE, SEALED_KEY_SIZE, Recipient
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.run_key import RECIPIENTS_MAX, Stanza
from safelight_vault.format.wire import TIME_US_MAX
from strictness import outcome, require_exact_length, require_tamper_evident

ADMINISTRATOR = signing_key("administrator")
RECIPIENTS = tuple(identity(name).recipient for name in ("first", "second"))
CONFIGURATION = VaultConfiguration(
    sequence=3,
    created_us=MOMENT_US,
    administrator=ADMINISTRATOR.verifying_key,
    epoch=1,
    splitter_version=SPLITTER_VERSION,
    recipients=RECIPIENTS,
    dedup_key=tuple(
        Stanza(recipient.fingerprint, recipient.seal(DEDUP_KEY, dedup_key_info(VAULT_ID)))
        for recipient in RECIPIENTS
    ),
)


def decode(data: bytes) -> VaultConfiguration:
    return decode_configuration(
        data, vault_id=VAULT_ID, administrator_fingerprint=administrator_fingerprint()
    )


def encode(configuration: VaultConfiguration) -> bytes:
    return encode_configuration(VAULT_ID, configuration, ADMINISTRATOR)


@given(
    st.builds(
        VaultConfiguration,
        sequence=st.integers(0, 2**64 - 1),
        created_us=st.integers(0, TIME_US_MAX),
        administrator=st.just(ADMINISTRATOR.verifying_key),
        epoch=st.integers(0, 2**32 - 1),
        splitter_version=st.integers(0, 2**16 - 1),
        recipients=st.lists(
            st.integers(0, 255).map(lambda byte: Recipient(bytes([byte]) * RECIPIENT_SIZE)),
            min_size=1,
            max_size=3,
        ).map(tuple),
        dedup_key=st.just(()),
    ),
    st.integers(0, 255),
)
def test_a_configuration_is_read_back(configuration: VaultConfiguration, byte: int) -> None:
    sealed = bytes([byte]) * SEALED_KEY_SIZE
    stanzas = tuple(Stanza(each.fingerprint, sealed) for each in configuration.recipients)
    whole = replace(configuration, dedup_key=stanzas)
    assert decode(encode(whole)) == whole


@pytest.mark.parametrize(
    "wrong",
    [
        replace(CONFIGURATION, recipients=(), dedup_key=()),
        replace(CONFIGURATION, dedup_key=CONFIGURATION.dedup_key[:1]),
        replace(CONFIGURATION, recipients=RECIPIENTS[:1]),
        replace(CONFIGURATION, dedup_key=CONFIGURATION.dedup_key[::-1]),
        replace(CONFIGURATION, recipients=(RECIPIENTS[0], identity("other").recipient)),
    ],
)
def test_the_dedup_key_must_be_sealed_to_exactly_the_recipients(wrong: VaultConfiguration) -> None:
    with pytest.raises(DecodeError, match="exactly the recipients"):
        decode(encode(wrong))


def test_a_configuration_has_exactly_one_length_and_every_flip_is_noticed() -> None:
    require_exact_length(decode, encode(CONFIGURATION))
    require_tamper_evident(decode, encode(CONFIGURATION))


@given(st.binary(max_size=300))
def test_foreign_bytes_raise_nothing_but_vault_errors(body: bytes) -> None:
    outcome(decode, body)
    outcome(decode, encode_signed(Structure.CONFIG, VAULT_ID, body, ADMINISTRATOR))


def test_another_administrator_is_refused_even_with_a_sound_signature() -> None:
    usurper = signing_key("usurper")
    his = replace(CONFIGURATION, administrator=usurper.verifying_key)
    with pytest.raises(CorruptError, match="not signed by this vault's administrator"):
        decode(encode_configuration(VAULT_ID, his, usurper))


def test_naming_the_administrator_is_not_enough() -> None:
    with pytest.raises(CorruptError, match="not trusted"):
        decode(encode_configuration(VAULT_ID, CONFIGURATION, signing_key("usurper")))


def test_a_configuration_of_another_vault_is_refused() -> None:
    with pytest.raises(CorruptError, match="another vault"):
        decode(encode_configuration(OTHER_VAULT_ID, CONFIGURATION, ADMINISTRATOR))


@pytest.mark.parametrize("name", ["first", "second"])
def test_every_recipient_opens_the_dedup_key(name: str) -> None:
    assert decode(encode(CONFIGURATION)).open_dedup_key(identity(name), VAULT_ID) == DEDUP_KEY


def test_nobody_else_opens_the_dedup_key() -> None:
    with pytest.raises(WrongIdentityError, match="not a recipient"):
        CONFIGURATION.open_dedup_key(identity("stranger"), VAULT_ID)
    with pytest.raises(WrongIdentityError, match="does not open"):
        CONFIGURATION.open_dedup_key(identity(), OTHER_VAULT_ID)


def test_a_sealed_dedup_key_is_no_run_key() -> None:
    """Labels keep the two apart, though both are 32 bytes sealed to the same recipient."""
    sealed = CONFIGURATION.dedup_key[0].sealed
    with pytest.raises(WrongIdentityError):
        identity().open(sealed, b"safelight/run-key/v1\x00" + VAULT_ID)


def test_more_recipients_than_the_limit_are_refused() -> None:
    crowded = replace(CONFIGURATION, recipients=(RECIPIENTS[0],) * (RECIPIENTS_MAX + 1))
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(encode(crowded))
    crowded = replace(CONFIGURATION, dedup_key=CONFIGURATION.dedup_key * RECIPIENTS_MAX)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        decode(encode(crowded))


@pytest.mark.parametrize("created_us", [-1, TIME_US_MAX + 1])
def test_a_time_that_no_calendar_has_is_refused(created_us: int) -> None:
    with pytest.raises(DecodeError, match="years 1970 to 9999"):
        decode(encode(replace(CONFIGURATION, created_us=created_us)))


def test_a_newer_configuration_is_unsupported() -> None:
    with pytest.raises(UnsupportedFormatError):
        decode(encode_signed(Structure.CONFIG, VAULT_ID, b"", ADMINISTRATOR, version=2))
