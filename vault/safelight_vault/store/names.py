"""Names of objects as every store accepts them, checked on the way in and on the way out.

The invariant: a checked name is plain lower-case ASCII that means the same on S3, on a
case-insensitive disk and in a URL, and that can never lead out of a vault's directory or prefix.
"""

import re

from safelight_vault.errors import DecodeError
from safelight_vault.store import NAME_LENGTH_MAX

SEGMENT_LENGTH_MAX = 128
"""Longest part between two slashes: file systems allow 255 bytes, and a store adds its own."""

_SEGMENT = re.compile(r"[a-z0-9._-]+")
_PREFIX_END = re.compile(r"[a-z0-9._-]*")


def is_valid_name(name: str) -> bool:
    """Whether ``name`` may name an object."""
    return len(name) <= NAME_LENGTH_MAX and all(map(_is_segment, name.split("/")))


def validate_name(name: str) -> str:
    """``name`` itself, or ``DecodeError``: names come from decoded bytes, so a bad one is hostile.

    >>> validate_name("packs/0a1b")
    'packs/0a1b'
    """
    if not is_valid_name(name):
        raise DecodeError(f"not a valid object name: {name[: NAME_LENGTH_MAX + 1]!r}")
    return name


def validate_prefix(prefix: str) -> str:
    """A listing prefix itself: whole segments, then part of one (or nothing), or ``DecodeError``.

    The empty prefix means every object.
    """
    *whole, last = prefix.split("/")
    if (
        len(prefix) > NAME_LENGTH_MAX
        or not all(map(_is_segment, whole))
        or not _PREFIX_END.fullmatch(last)
    ):
        raise DecodeError(f"not a valid listing prefix: {prefix[: NAME_LENGTH_MAX + 1]!r}")
    return prefix


def _is_segment(segment: str) -> bool:
    return (
        len(segment) <= SEGMENT_LENGTH_MAX
        and segment not in {".", ".."}
        and _SEGMENT.fullmatch(segment) is not None
    )
