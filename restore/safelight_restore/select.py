"""Which paths a restore is asked for: byte patterns over a source's paths.

The invariant: selection is pure and works on raw bytes, so that a name that is not valid text can
be asked for like any other. The rules, in full:

* A pattern is split at ``/`` and compared component by component, from the first component on. It
  is tried against the path within its source (``2024/01``) and against the path with the source's
  name before it (``archive/2024/01``); either match selects. ``/`` at its ends has no meaning.
* ``*`` stands for any run of bytes within one component, ``?`` for exactly one byte, ``[abc]`` and
  ``[a-z]`` for one byte of a set, ``[!abc]`` for one byte outside it. A leading dot is not special.
* ``**`` alone in a component stands for any number of components, none included; to find a name at
  any depth write ``**/name``.
* A backslash takes the next byte literally; ``escape`` does that for a whole path.
* Whatever a pattern matches is selected with everything below it: a plain directory name selects
  the directory's whole content. Parents of what is selected are made by the plan.
* No pattern at all selects everything.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from safelight_vault.errors import ConfigurationError

_SPECIAL = re.compile(rb"[*?\[\\]")


class Selection:
    """Compiled patterns. ``name`` is the same for the same patterns, whatever their order."""

    __slots__ = ("_literals", "_regexes", "name")

    def __init__(self, patterns: Sequence[bytes]) -> None:
        literals: set[bytes] = set()
        regexes: list[re.Pattern[bytes]] = []
        for pattern in patterns:
            literal, regex = _compile(pattern)
            if regex is None:
                literals.add(literal)
            else:
                regexes.append(regex)
        self._literals = frozenset(literals)
        self._regexes = tuple(regexes)
        self.name = hashlib.sha256(b"\0".join(sorted(set(patterns)))).digest()

    def matches(self, source: bytes, path: bytes) -> bool:
        """Whether the entry ``path`` of ``source`` (empty: the source's root) is asked for."""
        if not self._literals and not self._regexes:
            return True
        whole = source + b"/" + path if path else source
        return any(
            self._has_literal(candidate)
            or any(regex.match(candidate) is not None for regex in self._regexes)
            for candidate in (path, whole)
        )

    def _has_literal(self, candidate: bytes) -> bool:
        """Look up the path and each of its parents: cheap even with many thousand patterns."""
        if not self._literals:
            return False
        while candidate:
            if candidate in self._literals:
                return True
            candidate = candidate.rpartition(b"/")[0]
        return False


def matches(patterns: Sequence[bytes], source_name: bytes, path: bytes) -> bool:
    """Whether ``path`` of ``source_name`` is selected by ``patterns`` (none: everything is)."""
    return _selection(tuple(patterns)).matches(source_name, path)


def escape(path: bytes) -> bytes:
    """The pattern that selects exactly ``path`` (and what lies below it)."""
    return _SPECIAL.sub(lambda found: b"\\" + found[0], path)


@lru_cache(maxsize=32)
def _selection(patterns: tuple[bytes, ...]) -> Selection:
    return Selection(patterns)


def _compile(pattern: bytes) -> tuple[bytes, re.Pattern[bytes] | None]:
    """A pattern as literal path, or as regular expression where it has anything special."""
    given = [component for component in _components(pattern) if component]
    if not given:
        raise ConfigurationError(f"pattern {pattern!r} names nothing")
    # "**" twice says no more than once (and would match slowly), and at the end nothing at all,
    # because what lies below a match is selected anyway.
    components = [
        component
        for component, following in pairwise([*given, _ANY_DEPTH])
        if component != _ANY_DEPTH or following != _ANY_DEPTH
    ]
    if not components:
        return pattern, re.compile(b"")
    if all(isinstance(piece, int) for component in components for piece in component):
        return b"/".join(_literal_bytes(component) for component in components), None
    expression = b"".join(
        rb"(?:[^/]+/)*" if component == _ANY_DEPTH else _expression(component) + b"/"
        for component in components
    )
    return pattern, re.compile(expression.removesuffix(b"/") + rb"(?:\Z|/)", re.DOTALL)


# One piece of a component: a literal byte, "*" or "?", or a set as an expression.
_Piece = int | str | bytes
_ANY_DEPTH: list[_Piece] = ["*", "*"]


def _components(pattern: bytes) -> list[list[_Piece]]:
    components: list[list[_Piece]] = [[]]
    position = 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        position += 1
        if byte == b"/":
            components.append([])
        elif byte in (b"*", b"?"):
            components[-1].append(byte.decode())
        elif byte == b"[":
            expression, position = _byte_set(pattern, position)
            components[-1].append(expression)
        elif byte == b"\\":
            if position == len(pattern):
                raise ConfigurationError(f"pattern {pattern!r} ends in a backslash")
            components[-1].append(pattern[position])
            position += 1
        else:
            components[-1].append(byte[0])
    return components


def _byte_set(pattern: bytes, start: int) -> tuple[bytes, int]:
    """The set that begins behind ``[``, as an expression, and the position behind its ``]``."""
    negated = pattern[start : start + 1] == b"!"
    first = start + negated
    # A "]" right at the beginning belongs to the set, as in the shell.
    end = pattern.find(b"]", first + 1)
    if end < 0:
        raise ConfigurationError(f"pattern {pattern!r} has a '[' without its ']'")
    members: set[int] = set()
    body = pattern[first:end]
    position = 0
    while position < len(body):
        if body[position + 1 : position + 2] == b"-" and position + 2 < len(body):
            members.update(range(body[position], body[position + 2] + 1))
            position += 3
        else:
            members.add(body[position])
            position += 1
    wanted = set(range(256)) - members if negated else members
    wanted.discard(ord("/"))
    if not wanted:
        raise ConfigurationError(f"pattern {pattern!r} has a set that matches nothing")
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(wanted)) + b"]", end + 1


def _expression(component: Iterable[_Piece]) -> bytes:
    parts: list[bytes] = []
    for piece in component:
        if isinstance(piece, int):
            parts.append(re.escape(bytes([piece])))
        elif isinstance(piece, bytes):
            parts.append(piece)
        else:
            parts.append(b"[^/]*" if piece == "*" else b"[^/]")
    return b"".join(parts)


def _literal_bytes(component: Iterable[_Piece]) -> bytes:
    return bytes(piece for piece in component if isinstance(piece, int))
