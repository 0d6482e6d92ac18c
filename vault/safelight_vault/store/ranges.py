"""Ranges of an object: which bytes a caller asked for, and whether the object has them.

The invariant: a read gives exactly the bytes asked for or an error, and nobody reads an object
whole that is larger than anything a vault would write.
"""

from safelight_vault.errors import CorruptError, ObjectMissingError

WHOLE_SIZE_MAX = 1 << 30
"""Largest object that ``get`` reads without a length: memory must not follow a hostile object."""


def resolve_range(name: str, *, size_bytes: int, offset: int, length: int | None) -> int:
    """How many bytes to read at ``offset`` of an object of ``size_bytes``.

    ``length`` None means to the end. ``ObjectMissingError`` when the range reaches past the end,
    ``CorruptError`` when no length was given and the rest exceeds ``WHOLE_SIZE_MAX``.
    """
    require_range(offset=offset, length=length)
    end = size_bytes if length is None else offset + length
    if offset > size_bytes or end > size_bytes:
        raise past_the_end(name, size_bytes=size_bytes, offset=offset, length=length)
    if length is None:
        require_bounded(name, end - offset)
    return end - offset


def require_range(*, offset: int, length: int | None) -> None:
    """A negative offset or length is a programming error (``ValueError``)."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"range of {length} bytes at {offset}")


def require_bounded(name: str, size_bytes: int) -> None:
    """``CorruptError`` for an object that is too large to be read whole."""
    if size_bytes > WHOLE_SIZE_MAX:
        raise CorruptError(
            f"{name}: {size_bytes} bytes, more than a vault object that is read whole can have"
        )


def past_the_end(
    name: str, *, size_bytes: int | None, offset: int, length: int | None
) -> ObjectMissingError:
    """The error for bytes that the object does not have."""
    wanted = "the rest" if length is None else f"{length} bytes"
    size = "" if size_bytes is None else f" of {size_bytes} bytes"
    return ObjectMissingError(f"{name}: {wanted} at {offset} reach past the end{size}")
