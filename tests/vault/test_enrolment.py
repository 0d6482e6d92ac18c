"""Requests prove that the agent holds its key; certificates, that the administrator agreed."""

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
    agent_id,
    certificate,
    identity,
    signing_key,
)
from safelight_vault.errors import CorruptError, DecodeError, WrongIdentityError
from safelight_vault.format.crypto import SEALED_KEY_SIZE
from safelight_vault.format.enrolment import (
    CERTIFICATE_SIZE_MAX,
    LABEL_SIZE_MAX,
    Certificate,
    EnrolmentRequest,
    agent_id_of,
    decode_certificate,
    decode_request,
    encode_certificate,
    encode_request,
)
from safelight_vault.format.envelope import Structure, encode_signed
from safelight_vault.format.wire import TIME_US_MAX
from strictness import outcome, require_exact_length, require_tamper_evident

ADMINISTRATOR = signing_key("administrator")
LABELS = st.text(min_size=1, max_size=LABEL_SIZE_MAX // 4).filter(str.isprintable)
REQUEST = EnrolmentRequest(
    label="pacs-1",
    verifying_key=signing_key().verifying_key,
    sealing_key=identity("sealing agent").recipient,
)


def request(data: bytes) -> EnrolmentRequest:
    return decode_request(data, vault_id=VAULT_ID)


def certified(data: bytes) -> Certificate:
    return decode_certificate(
        data, vault_id=VAULT_ID, administrator_fingerprint=administrator_fingerprint()
    )


# --- Requests --------------------------------------------------------------------------------


@given(LABELS)
def test_a_request_is_read_back(label: str) -> None:
    asked = replace(REQUEST, label=label)
    assert request(encode_request(VAULT_ID, asked, signing_key())) == asked


def test_a_request_has_exactly_one_length_and_every_flip_is_noticed() -> None:
    data = encode_request(VAULT_ID, REQUEST, signing_key())
    require_exact_length(request, data)
    require_tamper_evident(request, data)


def test_a_request_that_its_own_key_did_not_sign_is_refused() -> None:
    with pytest.raises(CorruptError, match="not trusted"):
        request(encode_request(VAULT_ID, REQUEST, signing_key("intruder")))


def test_a_request_for_another_vault_is_refused() -> None:
    with pytest.raises(CorruptError, match="another vault"):
        request(encode_request(OTHER_VAULT_ID, REQUEST, signing_key()))


# --- Certificates ----------------------------------------------------------------------------


@given(
    LABELS,
    st.integers(0, TIME_US_MAX),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=SEALED_KEY_SIZE, max_size=SEALED_KEY_SIZE),
)
def test_a_certificate_is_read_back(
    label: str, enrolled_us: int, epoch: int, sealed: bytes
) -> None:
    agent = Certificate(
        label=label,
        verifying_key=signing_key().verifying_key,
        sealing_key=identity().recipient,
        enrolled_us=enrolled_us,
        epoch=epoch,
        administrator=ADMINISTRATOR.verifying_key,
        sealed_dedup_key=sealed,
    )
    assert certified(encode_certificate(VAULT_ID, agent, ADMINISTRATOR)) == agent


def test_a_certificate_has_exactly_one_length_and_every_flip_is_noticed() -> None:
    require_exact_length(certified, certificate())
    require_tamper_evident(certified, certificate())


def test_a_certificate_names_its_agent_and_fits_into_a_snapshot() -> None:
    found = certified(certificate())
    assert found.agent_id == agent_id() == agent_id_of(signing_key().verifying_key)
    assert (found.label, found.enrolled_us, found.epoch) == ("agent", MOMENT_US, 1)
    assert len(certificate()) <= CERTIFICATE_SIZE_MAX


def test_a_certificate_by_another_administrator_is_refused() -> None:
    with pytest.raises(CorruptError, match="not signed by this vault's administrator"):
        certified(certificate(administrator="usurper"))
    genuine = certified(certificate())
    with pytest.raises(CorruptError, match="not trusted"):
        certified(encode_certificate(VAULT_ID, genuine, signing_key("usurper")))


def test_a_certificate_for_another_vault_is_refused() -> None:
    data = encode_certificate(OTHER_VAULT_ID, certified(certificate()), ADMINISTRATOR)
    with pytest.raises(CorruptError, match="another vault"):
        certified(data)


def test_an_agent_does_not_certify_itself() -> None:
    own = replace(certified(certificate()), administrator=signing_key().verifying_key)
    with pytest.raises(CorruptError, match="not signed by this vault's administrator"):
        certified(encode_certificate(VAULT_ID, own, signing_key()))


def test_a_request_is_no_certificate_and_the_reverse() -> None:
    with pytest.raises(DecodeError, match="not of the kind"):
        certified(encode_request(VAULT_ID, REQUEST, signing_key()))
    with pytest.raises(DecodeError, match="not of the kind"):
        request(certificate())


def test_only_the_agent_opens_its_dedup_key() -> None:
    found = certified(certificate())
    assert found.open_dedup_key(identity("sealing agent"), VAULT_ID) == DEDUP_KEY
    with pytest.raises(WrongIdentityError):
        found.open_dedup_key(identity("sealing other agent"), VAULT_ID)
    with pytest.raises(WrongIdentityError):
        found.open_dedup_key(identity("sealing agent"), OTHER_VAULT_ID)


@given(st.binary(max_size=300))
def test_foreign_bytes_raise_nothing_but_vault_errors(body: bytes) -> None:
    outcome(certified, body)
    outcome(request, body)
    outcome(certified, encode_signed(Structure.ENROLMENT, VAULT_ID, body, ADMINISTRATOR))
    outcome(request, encode_signed(Structure.ENROLMENT_REQUEST, VAULT_ID, body, ADMINISTRATOR))


@pytest.mark.parametrize("label", ["", "two\nlines", "\x1b[2J", "a\x00b", "\u202epacs"])
def test_a_label_that_cannot_be_shown_is_refused(label: str) -> None:
    with pytest.raises(DecodeError, match="cannot be shown"):
        request(encode_request(VAULT_ID, replace(REQUEST, label=label), signing_key()))
    agent = replace(certified(certificate()), label=label)
    with pytest.raises(DecodeError, match="cannot be shown"):
        certified(encode_certificate(VAULT_ID, agent, ADMINISTRATOR))


@pytest.mark.parametrize("enrolled_us", [-1, TIME_US_MAX + 1, 2**63 - 1, -(2**63)])
def test_a_time_of_enrolment_that_no_calendar_has_is_refused(enrolled_us: int) -> None:
    agent = replace(certified(certificate()), enrolled_us=enrolled_us)
    with pytest.raises(DecodeError, match="years 1970 to 9999"):
        certified(encode_certificate(VAULT_ID, agent, ADMINISTRATOR))


def test_a_label_above_the_limit_is_refused() -> None:
    too_long = replace(REQUEST, label="x" * (LABEL_SIZE_MAX + 1))
    with pytest.raises(ValueError, match="at most 64 bytes"):
        encode_request(VAULT_ID, too_long, signing_key())
    body = (LABEL_SIZE_MAX + 1).to_bytes(4, "big") + bytes(4000)
    with pytest.raises(DecodeError, match="exceeds the limit"):
        request(encode_signed(Structure.ENROLMENT_REQUEST, VAULT_ID, body, signing_key()))
