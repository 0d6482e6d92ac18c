"""Rules for single values of the configuration: each checks one value and returns what it means.

A rule takes what the TOML reader gave and returns the value for the dataclass, or raises
``ConfigurationError`` saying what is expected. The invariant: no value is guessed at or converted
silently (no text for a number, no relative path, no unit but the one in the setting's name), and no
message repeats a value that may be secret.
"""

import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from safelight_agent.config_cron import CronSchedule, parse_schedule
from safelight_agent.source.patterns import parse_pattern
from safelight_vault.errors import ConfigurationError
from safelight_vault.store import LockMode

_Value = TypeVar("_Value")

Rule: TypeAlias = Callable[[object], _Value]
"""Checks a value as read from TOML; returns the value for the program."""

_TOML_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a fraction"),
    (list, "a list"),
    (dict, "a table"),
    (datetime.date, "a date"),
    (datetime.time, "a time of day"),
)
_TEXT_LENGTH_MAX = 4096
_RATE_MINIMUM = 65_536
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_WORD = re.compile(r"[A-Za-z0-9._-]+")
_PREFIX_LENGTH_MAX = 256
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _kind_of(value: object) -> str:
    return next((name for kind, name in _TOML_KINDS if isinstance(value, kind)), "something else")


def flag(value: object) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"must be true or false, not {_kind_of(value)}")
    return value


def integer(minimum: int, maximum: int) -> Rule[int]:
    """A whole number within limits, both included."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(f"must be a whole number, not {_kind_of(value)}")
        if not minimum <= value <= maximum:
            raise ConfigurationError(f"must be from {minimum} to {maximum}, not {value}")
        return value

    return check


def bytes_per_second(value: object) -> int:
    """A rate limit: 0 for none; one so low that another unit must have been meant is refused."""
    rate = integer(0, 1 << 40)(value)
    if 0 < rate < _RATE_MINIMUM:
        raise ConfigurationError(
            f"must be 0 (no limit) or at least {_RATE_MINIMUM}, not {rate}: the unit is bytes per "
            "second"
        )
    return rate


def text(value: object) -> str:
    """Text that is not empty and holds no NUL, which no system call could take."""
    if not isinstance(value, str):
        raise ConfigurationError(f"must be text in quotes, not {_kind_of(value)}")
    if not value or "\0" in value or len(value) > _TEXT_LENGTH_MAX:
        raise ConfigurationError(f"must be text of 1 to {_TEXT_LENGTH_MAX} characters without NUL")
    return value


def label(value: object) -> str:
    """A name of an agent or source: it becomes part of object names and of metrics."""
    name = text(value)
    if not _LABEL.fullmatch(name):
        raise ConfigurationError(
            f"must be 1 to 63 lower-case letters, digits and hyphens, no hyphen first, not {name!r}"
        )
    return name


def file_name(value: object) -> str:
    """The name of one file, without directories."""
    name = text(value)
    if "/" in name or name in {".", ".."} or len(name.encode("utf-8", "surrogatepass")) > 255:
        raise ConfigurationError(
            f"must be a file name of at most 255 bytes without '/', not {name!r}"
        )
    return name


def absolute_path(value: object) -> Path:
    """A path from the root of the machine, without detours."""
    name = text(value)
    if not name.startswith("/"):
        raise ConfigurationError(
            f"must be an absolute path, not {name!r} (no path is relative, no '~' or '$' expanded)"
        )
    if ".." in name.split("/"):
        raise ConfigurationError(f"must not go up by '..', as {name!r} does")
    return Path(name)


def choice(*accepted: LockMode) -> Rule[LockMode]:
    """One of some modes, by its name."""

    def check(value: object) -> LockMode:
        for mode in accepted:
            if value == mode.value:
                return mode
        names = " or ".join(f'"{mode.value}"' for mode in accepted)
        raise ConfigurationError(f"must be {names}, not {value!r}")

    return check


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    return _each(value, text)


def argv(value: object) -> tuple[str, ...]:
    """A program and its arguments; the program is found by an absolute path or in PATH."""
    words = texts(value)
    if not words:
        raise ConfigurationError("must name a program")
    if "/" in words[0] and not words[0].startswith("/"):
        raise ConfigurationError(
            f"must begin with an absolute path or a bare program name, not {words[0]!r}"
        )
    return words


def patterns(value: object) -> tuple[str, ...]:
    """A list of patterns, kept as they are written."""

    def check(item: object) -> str:
        parse_pattern(text(item))
        return text(item)

    return _each(value, check)


def include_patterns(value: object) -> tuple[str, ...]:
    """A list of patterns that takes something."""
    accepted = patterns(value)
    if not accepted:
        raise ConfigurationError("takes nothing when empty; leave it out to take everything")
    return accepted


def _each(value: object, rule: Rule[str]) -> tuple[str, ...]:
    """The items of a list; what is wrong with any of them is told for all of them at once."""
    if not isinstance(value, list):
        raise ConfigurationError(f"must be a list in brackets, not {_kind_of(value)}")
    accepted, reasons = [], []
    for number, item in enumerate(value, start=1):
        try:
            accepted.append(rule(item))
        except ConfigurationError as error:
            reasons.append(f"item {number}: {error}")
    if reasons:
        raise ConfigurationError("; ".join(reasons))
    return tuple(accepted)


def variables(value: object) -> tuple[tuple[str, str], ...]:
    """Environment variables. Values may be secret and are never repeated in a message."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"must be a table, not {_kind_of(value)}")
    reasons = []
    for name, setting in value.items():
        if not _VARIABLE.fullmatch(name):
            reasons.append(f"{name!r} is no name for a variable")
        if not isinstance(setting, str):
            reasons.append(f"the value of {name} must be text in quotes, not {_kind_of(setting)}")
        elif "\0" in setting:
            reasons.append(f"the value of {name} holds a NUL character")
    if reasons:
        raise ConfigurationError("; ".join(reasons))
    return tuple(sorted(value.items()))


def time_zone(value: object) -> str:
    """A name of the IANA time zone database, as it is installed on this machine."""
    name = text(value)
    if name == "UTC":  # known even where no database is installed
        return name
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"must be an IANA time zone such as 'Europe/Berlin', and {name!r} is not one that "
            "this machine knows"
        ) from error
    return name


def schedule(value: object) -> CronSchedule:
    """A crontab expression."""
    return parse_schedule(text(value))


def address(value: object) -> str:
    """An IP address to listen on."""
    name = text(value)
    try:
        ipaddress.ip_address(name)
    except ValueError as error:
        raise ConfigurationError(f"must be an IP address, not {name!r}") from error
    return name


def vault_url(value: object) -> str:
    """``file:///directory`` or ``s3://bucket/prefix``, nothing else in it."""
    url = text(value)
    parts = _split(url)
    if url.startswith("file://"):
        _check_file_url(url, parts)
    elif url.startswith("s3://"):
        _check_s3_url(parts)
    else:
        raise ConfigurationError("must begin with file:/// or s3://")
    return url


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad port is found only by asking for it
    except ValueError as error:
        raise ConfigurationError("is not a URL") from error
    if "@" in parts.netloc:
        raise ConfigurationError("must not hold credentials: those go to the AWS files")
    if "?" in url or "#" in url or not url.isprintable():
        raise ConfigurationError("must not hold '?', '#' or control characters")
    return parts


def _check_file_url(url: str, parts: SplitResult) -> None:
    if parts.netloc:
        path = url.removeprefix("file://")
        raise ConfigurationError(f"needs three strokes for a path on this machine: file:///{path}")
    if "%" in url:
        raise ConfigurationError("takes the path as it is, without '%' escapes")
    if absolute_path(parts.path) == Path("/"):
        raise ConfigurationError("must name a directory")


def _check_s3_url(parts: SplitResult) -> None:
    if not _BUCKET.fullmatch(parts.netloc):
        raise ConfigurationError(f"{parts.netloc!r} is no bucket name")
    prefix = parts.path.removeprefix("/").removesuffix("/")
    words = prefix.split("/") if prefix else []
    if len(prefix) > _PREFIX_LENGTH_MAX or not all(
        _PREFIX_WORD.fullmatch(word) and word not in {".", ".."} for word in words
    ):
        raise ConfigurationError(
            f"the prefix must be at most {_PREFIX_LENGTH_MAX} letters, digits and ._- between "
            "single strokes"
        )


def file_url_directory(url: str) -> Path | None:
    """The directory of a ``file://`` URL that :func:`vault_url` accepted, else None."""
    parts = urlsplit(url)
    return Path(parts.path) if parts.scheme == "file" else None


def endpoint_url(value: object) -> str:
    """Where an S3 server answers: ``https://host[:port]`` (or ``http://``, see the loopback)."""
    url = text(value)
    parts = _split(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ConfigurationError("must be https://host or https://host:port")
    return url


def is_plaintext(url: str) -> bool:
    """Whether an endpoint is reached without TLS."""
    return urlsplit(url).scheme == "http"


def is_loopback(url: str) -> bool:
    """Whether an endpoint lies on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
