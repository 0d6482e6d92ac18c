"""What is done about that which stands in the target already: the operator's rule, as a decision.

The invariant: pure, and total: for each rule, each kind of entry and each thing in place there is
exactly one decision. In words:

* nothing in place: restored, under every rule;
* ``refuse``: the plan refuses the whole restore unless every source's place is vacant, so nothing
  is ever in place when this module is asked;
* ``keep``: files and links in place stay as they are and are counted; directories are filled, and
  keep their own metadata; a directory where a file belongs, or the other way round, fails by name;
* ``replace``: a file of equal size is compared, and left if its content is equal (its metadata is
  applied again); other files and links are replaced atomically, symlinks never followed; a
  directory is filled; an empty one gives way to a file, one with content never does.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from safelight_restore.spool import FileState
from safelight_vault.format.manifest import Entry, EntryKind

BLOCKED_REASON = "a file or symlink stands where a directory belongs"
NOT_EMPTY_REASON = "a directory that is not empty stands in its place"


class Exists(Enum):
    """The operator's rule for names that exist in the target."""

    REFUSE = "refuse"
    KEEP = "keep"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The state in which an entry starts, and whether it may take an existing name's place."""

    state: FileState
    replace: bool = False
    reason: str | None = None


def decide(
    exists: Exists, entry: Entry, found: os.stat_result | None, is_vacant: Callable[[], bool]
) -> Decision:
    """Decide about one entry; ``is_vacant`` is asked only about a directory in a file's place."""
    if found is None:
        return Decision(state=FileState.PENDING)
    if exists is Exists.REFUSE:
        return Decision(state=FileState.FAILED, reason="something stands in its place")
    found_directory = stat.S_ISDIR(found.st_mode)
    if entry.kind is EntryKind.DIRECTORY:
        return _decide_directory(exists, found_directory=found_directory)
    if found_directory:
        replace = exists is Exists.REPLACE
        gives_way = replace and is_vacant()
        # ``replace`` all the same: it gives way should it be empty by the time of a later run.
        return Decision(
            state=FileState.PENDING if gives_way else FileState.FAILED,
            replace=replace,
            reason=None if gives_way else NOT_EMPTY_REASON,
        )
    if exists is Exists.KEEP:
        return Decision(state=FileState.KEPT)
    same_size = stat.S_ISREG(found.st_mode) and found.st_size == entry.size_bytes
    comparable = entry.kind is EntryKind.FILE and same_size
    return Decision(state=FileState.COMPARE if comparable else FileState.PENDING, replace=True)


def _decide_directory(exists: Exists, *, found_directory: bool) -> Decision:
    if found_directory:
        kept = exists is Exists.KEEP
        return Decision(state=FileState.KEPT if kept else FileState.PENDING)
    if exists is Exists.KEEP:
        return Decision(state=FileState.FAILED, reason=BLOCKED_REASON)
    return Decision(state=FileState.PENDING, replace=True)
