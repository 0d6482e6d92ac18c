"""Patterns that choose what of a tree is taken: ``include`` and ``exclude`` of a source.

The language, exactly:

- A pattern is split at ``/`` and matched component by component against the path relative to the
  source's root. It must match the path to its end.
- A pattern that begins with ``/`` starts at the root; any other may start in any directory
  (``*.tmp`` is ``/**/*.tmp``, and ``cache/*.bin`` is ``/**/cache/*.bin``).
- In a component ``*`` stands for any run of characters (none included, a leading dot included),
  ``?`` for one character, ``[abc]`` and ``[a-z]`` for one of a set, ``[!abc]`` for one outside it.
  ``[*]`` is the character itself; a backslash has no special meaning. Case matters. Names are
  compared as they are: no Unicode form is changed, and each byte that is not UTF-8 counts as one
  character.
- A component ``**`` stands for any number of components, none included; as the last component it
  stands for one or more (``/tmp/**`` is all that lies in ``/tmp``, but not ``/tmp``). Inside a
  longer component (``a**``) it is an error.
- A pattern that ends with ``/`` matches directories only.
- What ``exclude`` matches is left out, and of a directory everything below it, unread. ``exclude``
  wins over ``include``.
- What ``include`` matches is taken, and of a directory everything below it. A directory that is
  not matched is taken when something below it could be, so that every file has its directories.
- The root itself is always taken.

The invariant: whether a path is taken depends on its components and on being a directory or not,
never on what else is in the tree. Matching carries its state down with the walk, so that a path of
2,000 components is not compared from its beginning at each of them.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from safelight_vault.errors import ConfigurationError

_States = frozenset[int]
_ANYTHING = re.compile(fnmatch.translate("*"))


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern; ``None`` among the components is ``**``.

    A state is the number of components of the pattern that the path so far has used up; several
    can hold at once, because ``**`` may end or go on.
    """

    components: tuple[re.Pattern[str] | None, ...]
    directories_only: bool

    @property
    def beginning(self) -> _States:
        """The states at the root."""
        return self._with_skips([0])

    def after(self, states: _States, name: str) -> _States:
        """The states once the path went on with the component ``name``."""
        reached = []
        for state in states:
            if state == len(self.components):
                continue
            component = self.components[state]
            if component is None:
                reached.append(state)
            elif component.match(name):
                reached.append(state + 1)
        return self._with_skips(reached)

    def matches(self, states: _States, *, directory: bool) -> bool:
        """Whether the path that led to ``states`` is matched to its end."""
        return len(self.components) in states and (directory or not self.directories_only)

    def _with_skips(self, states: Sequence[int]) -> _States:
        reached = set(states)
        for start in states:
            state = start
            while state < len(self.components) and self.components[state] is None:
                state += 1
                reached.add(state)
        return frozenset(reached)


def parse_pattern(text: str) -> Pattern:
    """Compile one pattern; what is wrong with it is told in a ``ConfigurationError``."""
    if "\0" in text:
        raise ConfigurationError("holds a NUL character, which no name can")
    directories_only = text.endswith("/")
    words = text.strip("/").split("/")
    if words == [""]:
        raise ConfigurationError(f"{text!r} names nothing")
    for word in words:
        if word in ("", ".", ".."):
            raise ConfigurationError(f"{text!r} holds an empty, '.' or '..' component")
        if "**" in word and word != "**":
            raise ConfigurationError(f"{text!r}: '**' must be a component of its own")
    if not text.startswith("/"):
        words.insert(0, "**")
    if words[-1] == "**":
        words.append("*")
    components = [None if word == "**" else re.compile(fnmatch.translate(word)) for word in words]
    return Pattern(
        tuple(
            component
            for before, component in zip([_ANYTHING, *components], components, strict=False)
            if not (before is None and component is None)  # '**/**' is '**'
        ),
        directories_only,
    )


@dataclass(frozen=True, slots=True)
class Position:
    """How far each pattern has got in one directory.

    ``includes`` is None where everything below is included.
    """

    includes: tuple[_States, ...] | None
    excludes: tuple[_States, ...]

    @property
    def unrestricted(self) -> bool:
        """Whether everything below is taken, so that no name needs to be looked at."""
        return self.includes is None and not self.excludes


@dataclass(frozen=True, slots=True)
class Selection:
    """The patterns of one source."""

    includes: tuple[Pattern, ...]
    excludes: tuple[Pattern, ...]

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "Selection":
        """Compile the two lists; an empty ``include`` is refused, because it takes nothing."""
        if not include:
            raise ConfigurationError("an empty include list takes nothing")
        return cls(tuple(map(parse_pattern, include)), tuple(map(parse_pattern, exclude)))

    @property
    def root(self) -> Position:
        """The position at the source's root."""
        everything = Pattern((None, _ANYTHING), directories_only=False) in self.includes
        return Position(
            None if everything else tuple(pattern.beginning for pattern in self.includes),
            tuple(pattern.beginning for pattern in self.excludes),
        )

    def after(self, position: Position, name: bytes, *, directory: bool) -> Position | None:
        """The position of ``name`` in the directory at ``position``; None when it is left out.

        The position of anything but a directory has no use beyond not being None.
        """
        if position.unrestricted:
            return position
        text = name.decode("utf-8", "surrogateescape")
        excludes = tuple(
            pattern.after(states, text)
            for pattern, states in zip(self.excludes, position.excludes, strict=True)
        )
        if any(
            pattern.matches(states, directory=directory)
            for pattern, states in zip(self.excludes, excludes, strict=True)
        ):
            return None
        if position.includes is None:
            return Position(None, excludes)
        includes = tuple(
            pattern.after(states, text)
            for pattern, states in zip(self.includes, position.includes, strict=True)
        )
        if any(
            pattern.matches(states, directory=directory)
            for pattern, states in zip(self.includes, includes, strict=True)
        ):
            return Position(None, excludes)
        if directory and any(includes):
            return Position(includes, excludes)
        return None

    def takes(self, path: bytes, *, directory: bool) -> bool:
        """Whether ``path``, relative to the root, is taken; its parents are directories."""
        position: Position | None = self.root
        names = path.split(b"/") if path else []
        for number, name in enumerate(names, start=1):
            if position is None:
                break
            position = self.after(
                position, name, directory=directory if number == len(names) else True
            )
        return position is not None
