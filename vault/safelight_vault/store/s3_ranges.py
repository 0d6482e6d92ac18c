"""The answer to a get held against the question: the right version, the right bytes, all of them.

The invariant: no byte is handed on whose place in the object is not certain, and nothing is read
into memory whose length was not known and bounded before.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from safelight_vault.errors import StoreUnreachableError
from safelight_vault.store.ranges import past_the_end, require_bounded, resolve_range

WHOLE_ANSWER_SIZE_MAX = 128 << 20
"""Largest object that is taken whole from a server that ignores ranges."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The part that a server says it sends: first and last byte, and the size of the whole."""

    first: int
    last: int
    size_bytes: int


def parse_content_range(text: str) -> ContentRange | None:
    """A ``Content-Range`` header; None when it is missing or makes no sense."""
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        return None
    first, last, size = (int(part) for part in match.groups())
    return ContentRange(first, last, size) if first <= last < size else None


def from_whole(
    name: str,
    answer: Mapping[str, Any],
    read: Callable[[int], bytes],
    *,
    offset: int,
    length: int | None,
) -> bytes:
    """The range out of an answer that holds the whole object."""
    size = content_length(name, answer)
    is_part = offset > 0 or length is not None
    if is_part and size > WHOLE_ANSWER_SIZE_MAX:
        raise StoreUnreachableError(
            f"{name}: the store ignores ranges, and the object is too large to be read whole",
            remedy="Look for a proxy on the way that drops the Range header.",
        )
    wanted = resolve_range(name, size_bytes=size, offset=offset, length=length)
    data = read(size)
    return data[offset : offset + wanted] if is_part else data


def length_of_part(name: str, answer: Mapping[str, Any], *, offset: int, length: int | None) -> int:
    """How long the body of a partial answer is, after its headers were held against the request."""
    part = parse_content_range(str(answer.get("ContentRange", "")))
    if part is None or part.first != offset:
        raise StoreUnreachableError(f"{name}: the store answered with another range")
    got = part.last - part.first + 1
    at_end = part.last == part.size_bytes - 1
    if length is not None and at_end and got < length:
        raise past_the_end(name, size_bytes=part.size_bytes, offset=offset, length=length)
    if content_length(name, answer) != got or (got != length if length is not None else not at_end):
        raise StoreUnreachableError(f"{name}: the store answered with another range")
    if length is None:
        require_bounded(name, got)
    return got


def content_length(name: str, answer: Mapping[str, Any]) -> int:
    """The length of the answer's body as its header says, which must be there."""
    length = answer.get("ContentLength")
    if not isinstance(length, int) or length < 0:
        raise StoreUnreachableError(f"{name}: the store's answer does not say how long it is")
    return length


def require_version(name: str, version_id: str | None, answer: Mapping[str, Any]) -> None:
    """Refuse an answer that names another version; not every server names one."""
    answered = answer.get("VersionId")
    if version_id is not None and answered is not None and answered != version_id:
        raise StoreUnreachableError(f"{name}: the store answered with another version")
