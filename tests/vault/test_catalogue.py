"""Catalogue rows are read back exactly and sort by patient, study, series and instance."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight_vault.errors import DecodeError
from safelight_vault.format.catalogue import (
    TEXT_SIZE_MAX,
    Instance,
    decode_instance,
    encode_instance,
    patient_prefix,
)
from strictness import REFUSED, outcome

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text("\x00\x01^=")
COMPONENTS = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"/", b"_").replace(b"\x00", b"_")
)
PATHS = st.lists(COMPONENTS.filter(lambda name: name not in {b".", b".."}), max_size=4).map(
    b"/".join
)
INSTANCES = st.builds(
    Instance,
    path=PATHS,
    patient_id=TEXTS,
    study_instance_uid=TEXTS,
    series_instance_uid=TEXTS,
    sop_instance_uid=TEXTS,
    patient_name=TEXTS,
    study_date=TEXTS,
    study_description=TEXTS,
    series_description=TEXTS,
    modality=TEXTS,
    accession_number=TEXTS,
)
EXAMPLE = Instance(
    path=b"2026/CT.1",
    patient_id="4711",
    study_instance_uid="1.2.826.1",
    series_instance_uid="1.2.826.1.1",
    sop_instance_uid="1.2.826.1.1.1",
    patient_name="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
    study_date="20260921",
    study_description="CT chest",
    series_description="",
    modality="CT",
    accession_number="A-1",
)


@given(INSTANCES)
def test_an_instance_is_read_back(instance: Instance) -> None:
    assert decode_instance(*encode_instance(instance)) == instance


@given(INSTANCES, INSTANCES)
def test_keys_sort_as_their_fields_do(one: Instance, other: Instance) -> None:
    def fields(instance: Instance) -> list[bytes]:
        texts = (
            instance.patient_id,
            instance.study_instance_uid,
            instance.series_instance_uid,
            instance.sop_instance_uid,
        )
        return [text.encode() for text in texts] + [instance.path.replace(b"/", b"\x00")]

    keys_in_order = encode_instance(one)[0] < encode_instance(other)[0]
    assert keys_in_order == (fields(one) < fields(other))


@given(INSTANCES, TEXTS)
def test_a_prefix_finds_all_of_one_patient_and_nobody_else(
    instance: Instance, patient_id: str
) -> None:
    key, _ = encode_instance(instance)
    assert key.startswith(patient_prefix(instance.patient_id))
    assert key.startswith(patient_prefix(patient_id)) == (instance.patient_id == patient_id)


def test_the_key_is_laid_out_as_documented() -> None:
    instance = replace(
        EXAMPLE,
        patient_id="P1",
        study_instance_uid="1.2",
        series_instance_uid="1.3",
        sop_instance_uid="1.4",
        path=b"a/b",
    )
    key, _ = encode_instance(instance)
    assert key == b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00a\x00\x01b\x00\x00"


@given(st.characters(), st.integers(0, 3))
def test_a_long_text_is_cut_at_the_end_of_a_character(character: str, shift: int) -> None:
    text = "x" * shift + character * TEXT_SIZE_MAX
    _, value = encode_instance(replace(EXAMPLE, patient_name=text))
    found = decode_instance(encode_instance(EXAMPLE)[0], value).patient_name
    assert TEXT_SIZE_MAX - 4 < len(found.encode()) <= TEXT_SIZE_MAX
    assert text.encode("utf-8", "replace").startswith(found.encode())


def test_text_that_is_no_unicode_does_not_stop_a_backup() -> None:
    key, value = encode_instance(replace(EXAMPLE, patient_id="4\udc80711"))
    assert decode_instance(key, value).patient_id == "4?711"


def test_a_row_has_exactly_one_length() -> None:
    key, value = encode_instance(EXAMPLE)
    for length in range(len(key)):
        assert outcome(lambda cut: decode_instance(cut, value), key[:length]) is REFUSED
    for length in range(len(value)):
        assert outcome(lambda cut: decode_instance(key, cut), value[:length]) is REFUSED
    for tail in (b"\x00", b"\x00\x00", b"x", b"x\x00\x00"):
        assert outcome(lambda more: decode_instance(more, value), key + tail) is REFUSED
    assert outcome(lambda more: decode_instance(key, more), value + b"\x00") is REFUSED


@given(st.binary(max_size=60) | st.lists(st.binary(max_size=4)).map(b"\x00\x00".join))
def test_foreign_keys_are_refused_or_canonical(key: bytes) -> None:
    _, value = encode_instance(EXAMPLE)
    found = outcome(lambda foreign: decode_instance(foreign, value), key)
    if isinstance(found, Instance):
        assert encode_instance(found) == (key, value)


@given(st.binary(max_size=80))
def test_foreign_values_raise_nothing_but_vault_errors(value: bytes) -> None:
    key, _ = encode_instance(EXAMPLE)
    outcome(lambda foreign: decode_instance(key, foreign), value)


@pytest.mark.parametrize(
    "key",
    [
        b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00a\x00b\x00\x00",
        b"P\x00\x02\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00a\x00\x00",
        b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00",
        b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00a\x00\x00b\x00\x00",
        b"\xff\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00a\x00\x00",
        b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00..\x00\x00",
        b"P1\x00\x001.2\x00\x001.3\x00\x001.4\x00\x00/etc/passwd\x00\x00",
    ],
)
def test_a_key_that_no_writer_makes_is_refused(key: bytes) -> None:
    _, value = encode_instance(EXAMPLE)
    with pytest.raises(DecodeError):
        decode_instance(key, value)
