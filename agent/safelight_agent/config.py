"""The agent's configuration: from a TOML file to checked, frozen values.

The invariant: what is returned has been checked as a whole, and what is wrong is told all at once,
each problem with its dotted key, so that the administrator mends the file in one go. Nothing
unknown is passed over: a misspelt setting would otherwise leave a default in force unnoticed.

Reading goes in three steps: take each table apart by the rules of its dataclass, check what only
several settings together can get wrong, and build the values once there is nothing to complain of.
"""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

from safelight_agent.config_checks import (
    check_memory,
    check_names,
    check_nesting,
    check_places,
    check_retention,
    check_vault,
)
from safelight_agent.config_problems import Problems
from safelight_agent.config_reading import SourceDraft, read_source, read_table
from safelight_agent.config_schema import (
    AgentSettings,
    CommandSettings,
    Config,
    MetricsSettings,
    RetentionSettings,
    S3Settings,
    SourceSettings,
    TreeSettings,
    VaultSettings,
)
from safelight_agent.source import reason_of
from safelight_vault.errors import ConfigurationError

__all__ = [
    "AgentSettings",
    "CommandSettings",
    "Config",
    "MetricsSettings",
    "RetentionSettings",
    "S3Settings",
    "SourceSettings",
    "TreeSettings",
    "VaultSettings",
    "load_config",
    "parse_config",
]

CONFIG_SIZE_MAX_BYTES = 1 << 20

_TABLES = ("vault", "agent", "metrics", "retention", "source")


def load_config(path: Path) -> Config:
    """Read and check the file, or raise ``ConfigurationError`` with all that is wrong with it.

    Whether one directory lies in another is judged with links resolved.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({reason_of(error)})") from error
    if len(data) > CONFIG_SIZE_MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than {CONFIG_SIZE_MAX_BYTES} bytes")
    try:
        return parse_config(
            data.decode("utf-8"), resolve=lambda given: Path(os.path.realpath(given))
        )
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 (at byte {error.start})") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _as_written(path: Path) -> Path:
    return Path(os.path.normpath(path))


def parse_config(text: str, *, resolve: Callable[[Path], Path] = _as_written) -> Config:
    """Check the text of a configuration file; no file is looked at, unless ``resolve`` does."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not a TOML file: {error}") from error
    problems = Problems()
    problems.refuse_unknown(document, _TABLES, "")
    vault_table = document.get("vault", {})
    s3_table = vault_table.get("s3", {}) if isinstance(vault_table, dict) else {}
    vault = read_table(VaultSettings, vault_table, "vault", problems)
    s3 = read_table(S3Settings, s3_table, "vault.s3", problems)
    agent = read_table(AgentSettings, document.get("agent", {}), "agent", problems)
    metrics = read_table(MetricsSettings, document.get("metrics", {}), "metrics", problems)
    retention = read_table(RetentionSettings, document.get("retention", {}), "retention", problems)
    sources = [
        read_source(table, number, retention, problems)
        for number, table in enumerate(_source_tables(document.get("source", []), problems), 1)
    ]

    check_vault(vault, s3, problems)
    check_memory(agent, problems)
    check_retention(retention, "retention", problems)
    for source in sources:
        if source.retention != retention:
            check_retention(source.retention, f"{source.key}.retention", problems)
    check_names(sources, problems)
    check_places(vault, agent, resolve, problems)
    check_nesting(vault, agent, sources, resolve, problems)
    problems.raise_if_any()
    return Config(
        vault=VaultSettings(**vault, s3=S3Settings(**s3)),
        agent=AgentSettings(**agent),
        metrics=MetricsSettings(**metrics),
        retention=RetentionSettings(**retention),
        sources=tuple(_build(source) for source in sources),
    )


def _source_tables(tables: object, problems: Problems) -> list[object]:
    if not isinstance(tables, list):
        problems.add("source", "must be a list of tables: write [[source]], in two brackets")
        return []
    if not tables:
        problems.add("source", "at least one [[source]] is needed")
    return tables


def _build(source: SourceDraft) -> TreeSettings | CommandSettings:
    if source.kind is None:
        raise ValueError("a source of no kind is a problem, and problems are raised first")
    return source.kind(**source.values, retention=RetentionSettings(**source.retention))
