"""Whether a tree's root is there as it was: the guard against a vanished or swapped mount.

The invariant: a run that cannot prove this records nothing. An empty directory where a file system
was mounted yesterday looks exactly like an archive whose every file was deleted. The decision
(:func:`judge_root`) is pure; the system is asked by :func:`look_at_root`, off the main thread and
for a limited time, because a dead network mount never answers.
"""

import os
import threading
from collections.abc import Callable

from safelight_agent.source import RootFacts, SourceVanishedError, reason_of
from safelight_vault.errors import VaultError

ROOT_ANSWER_SECONDS = 30.0
"""How long a mount may take to say what its root is."""


def look_at_root(root: bytes) -> RootFacts:
    """Ask the system what the root is now; follows links that lead to it, as mounting does."""
    try:
        path = os.path.realpath(root, strict=True)
        status = os.stat(path)
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
        mount_point = _mount_point(path, status.st_dev)
    except FileNotFoundError as error:
        raise SourceVanishedError(f"{os.fsdecode(root)} does not exist") from error
    except NotADirectoryError as error:
        raise SourceVanishedError(f"{os.fsdecode(root)} is not a directory") from error
    except OSError as error:
        raise SourceVanishedError(
            f"{os.fsdecode(root)} cannot be read ({reason_of(error)})"
        ) from error
    return RootFacts(
        path=path,
        mount_point=mount_point,
        device=status.st_dev,
        inode=status.st_ino,
        empty=empty,
    )


def _mount_point(path: bytes, device: int) -> bytes:
    """The nearest directory at or above ``path`` whose parent lies on another device."""
    while path != b"/":
        parent = os.path.dirname(path)
        if os.stat(parent).st_dev != device:
            return path
        path = parent
    return path


def judge_root(
    now: RootFacts, expected: RootFacts | None, *, require_mount: bool, allow_empty: bool
) -> str | None:
    """Why the root must not be backed up, or None; ``expected`` is what the last good run saw.

    Device and inode numbers are not compared: those of network and device-mapper mounts change
    with every restart of the machine. Nor does it matter that a mount came *above* an old root:
    that is how an archive moves to new storage, and emptiness and count guard that case.
    """
    shown = os.fsdecode(now.path)
    if require_mount and now.mount_point != now.path:
        return f"{shown} is not a mount point, and require_mount is set"
    if expected is None:
        return None
    if now.empty and not expected.empty and not allow_empty:
        return f"{shown} is empty and held files before"
    unmounted = len(now.mount_point) < len(expected.mount_point)
    if now.path == expected.path and unmounted:
        return (
            f"{shown} was on the mount {os.fsdecode(expected.mount_point)} and is now on "
            f"{os.fsdecode(now.mount_point)}"
        )
    return None


def ask_root(
    root: bytes,
    *,
    timeout_seconds: float = ROOT_ANSWER_SECONDS,
    look: Callable[[bytes], RootFacts] = look_at_root,
) -> RootFacts:
    """:func:`look_at_root` with a time limit; ``SourceVanishedError`` when no answer comes.

    The asking thread cannot be ended while the system waits for the mount. It is left behind as a
    daemon, so that it keeps neither the run nor the program's end waiting.
    """
    answers: list[RootFacts | VaultError] = []

    def ask() -> None:
        try:
            answers.append(look(root))
        except VaultError as error:
            answers.append(error)

    asking = threading.Thread(target=ask, name="ask-root", daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    if not answers:
        raise SourceVanishedError(
            f"{os.fsdecode(root)} gives no answer in {timeout_seconds:g} seconds: "
            f"is its server down?"
        )
    if isinstance(answers[0], VaultError):
        raise answers[0]
    return answers[0]
