"""The catalogue: a snapshot's patients, studies, series and instances, sorted in that order.

A page tree beside the manifest, so that one patient among millions of files is found by reading a
few pages, offline. Names of attributes are those of DICOM PS3.6 (format.md section 10).
"""

from dataclasses import dataclass

from safelight_vault.errors import DecodeError
from safelight_vault.format.manifest import entry_key, entry_path
from safelight_vault.format.wire import Reader, Writer

TEXT_SIZE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One DICOM file of a snapshot. Texts are empty where the file has none."""

    path: bytes
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    patient_name: str
    study_date: str
    study_description: str
    series_description: str
    modality: str
    accession_number: str


_KEY_FIELDS = ("patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
_VALUE_FIELDS = (
    "patient_name",
    "study_date",
    "study_description",
    "series_description",
    "modality",
    "accession_number",
)


def encode_instance(instance: Instance) -> tuple[bytes, bytes]:
    """Key (identifiers and path, each ended by NUL NUL) and value of a row.

    Within a field a NUL is followed by 0x01, so keys sort as the fields do and read back exactly.
    """
    fields = [_clip(getattr(instance, name)) for name in _KEY_FIELDS]
    fields.append(entry_key(instance.path))
    key = b"".join(_escape(field) + b"\x00\x00" for field in fields)
    writer = Writer()
    for name in _VALUE_FIELDS:
        writer.var(_clip(getattr(instance, name)), TEXT_SIZE_MAX)
    return key, writer.finish()


def patient_prefix(patient_id: str) -> bytes:
    """The beginning of all keys of one patient."""
    return _escape(_clip(patient_id)) + b"\x00\x00"


def decode_instance(key: bytes, value: bytes) -> Instance:
    """The inverse of :func:`encode_instance`."""
    fields = key.split(b"\x00\x00")
    if len(fields) != len(_KEY_FIELDS) + 2 or fields[-1]:
        raise DecodeError("catalogue: a key does not have five fields")
    plain = [field.replace(b"\x00\x01", b"\x00") for field in fields[:-1]]
    if any(_escape(text) != field for text, field in zip(plain, fields[:-1], strict=True)):
        raise DecodeError("catalogue: a key has a NUL that is not escaped")
    reader = Reader(value, "catalogue row")
    values = {name: reader.text(TEXT_SIZE_MAX) for name in _VALUE_FIELDS}
    reader.end()
    try:
        texts = {name: plain[at].decode("utf-8") for at, name in enumerate(_KEY_FIELDS)}
    except UnicodeDecodeError as error:
        raise DecodeError("catalogue: an identifier is not UTF-8") from error
    instance = Instance(path=entry_path(plain[-1]), **texts, **values)
    if encode_instance(instance)[0] != key:
        raise DecodeError("catalogue: a key is not in its one form")
    return instance


def _escape(field: bytes) -> bytes:
    return field.replace(b"\x00", b"\x00\x01")


def _clip(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) <= TEXT_SIZE_MAX:
        return data
    return data[:TEXT_SIZE_MAX].decode("utf-8", "ignore").encode("utf-8")
