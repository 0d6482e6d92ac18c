"""What is wrong with a configuration, collected until all of it is known.

The invariant: a configuration with a problem is never built; every problem names its setting.
"""

import difflib
from collections.abc import Collection

from safelight_vault.errors import ConfigurationError


class Problems:
    """The problems found so far, in the order of their finding."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, key: str, reason: str) -> None:
        """Keep one problem of the setting with this dotted key."""
        self._found.append(f"{key}: {reason}")

    def refuse_unknown(self, names: Collection[str], known: Collection[str], key: str) -> None:
        """Keep a problem for each name in the table ``key`` that is not a known one."""
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                self.add(f"{key}.{name}" if key else name, f"there is no such setting{hint}")

    def raise_if_any(self) -> None:
        """Raise them all as one ``ConfigurationError``, a line each."""
        if self._found:
            count = "1 problem" if len(self._found) == 1 else f"{len(self._found)} problems"
            raise ConfigurationError("\n  ".join([f"{count} in the configuration", *self._found]))
