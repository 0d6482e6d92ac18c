"""The configuration as values: every setting with its default and the rule it is checked by.

One dataclass for each table of the TOML file, one field for each setting, named alike; a field
without a rule is a table within the table. The unit is the last word of a setting's name. The
invariant: a value of these classes that came from ``config.parse_config`` holds what its rule
promises. ``config.example.toml`` explains each setting to the administrator; a test holds the two
together, defaults included.
"""

from dataclasses import dataclass, field
from pathlib import Path

from safelight_agent import config_rules as rules
from safelight_agent.config_cron import CronSchedule
from safelight_agent.config_rules import Rule
from safelight_agent.source.tree import TreeOptions
from safelight_vault.store import LockMode

_MIB = 1 << 20
_GIB = 1 << 30
_DAY_SECONDS = 86_400
_WEEK_SECONDS = 7 * _DAY_SECONDS
_CENTURY_DAYS = 36_525


def _by(rule: Rule[object]) -> dict[str, Rule[object]]:
    return {"rule": rule}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """``[vault.s3]``: None stands for what the standard AWS variables and files say."""

    endpoint_url: str | None = field(default=None, metadata=_by(rules.endpoint_url))
    region: str | None = field(default=None, metadata=_by(rules.label))
    ca_bundle: Path | None = field(default=None, metadata=_by(rules.absolute_path))
    profile: str | None = field(default=None, metadata=_by(rules.text))
    allow_plaintext_loopback: bool = field(default=False, metadata=_by(rules.flag))
    connect_timeout_seconds: int = field(default=10, metadata=_by(rules.integer(1, 600)))
    read_timeout_seconds: int = field(default=60, metadata=_by(rules.integer(1, 3600)))
    attempts: int = field(default=8, metadata=_by(rules.integer(1, 100)))


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """``[vault]``: where the vault is, and what is believed of it."""

    url: str = field(metadata=_by(rules.vault_url))
    trust: Path = field(metadata=_by(rules.absolute_path))
    """File of the public trust roots: vault id, administrator's public key, recipients."""
    retention_mode: LockMode = field(
        default=LockMode.COMPLIANCE,
        metadata=_by(rules.choice(LockMode.COMPLIANCE, LockMode.GOVERNANCE)),
    )
    accept_emulated_locks: bool = field(default=False, metadata=_by(rules.flag))
    clock_skew_limit_seconds: int = field(default=900, metadata=_by(rules.integer(1, _DAY_SECONDS)))
    s3: S3Settings = field(default_factory=S3Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """``[agent]``: this machine, and how much of it a run may take."""

    name: str = field(metadata=_by(rules.label))
    state_directory: Path = field(metadata=_by(rules.absolute_path))
    time_zone: str = field(default="UTC", metadata=_by(rules.time_zone))
    workers: int = field(default=0, metadata=_by(rules.integer(0, 256)))
    """Worker processes; 0 is one for each CPU."""
    memory_budget_bytes: int = field(
        default=256 * _MIB, metadata=_by(rules.integer(16 * _MIB, 1024 * _GIB))
    )
    pack_size_bytes: int = field(default=64 * _MIB, metadata=_by(rules.integer(_MIB, _GIB)))
    compression_level: int = field(default=3, metadata=_by(rules.integer(1, 19)))
    read_limit_bytes_per_second: int = field(default=0, metadata=_by(rules.bytes_per_second))
    upload_limit_bytes_per_second: int = field(default=0, metadata=_by(rules.bytes_per_second))
    upload_workers: int = field(default=4, metadata=_by(rules.integer(1, 64)))
    checkpoint_seconds: int = field(default=3600, metadata=_by(rules.integer(1, _WEEK_SECONDS)))
    reread_days: int = field(default=30, metadata=_by(rules.integer(1, 3650)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """``[metrics]``: where Prometheus finds the results of the runs."""

    listen_address: str = field(default="127.0.0.1", metadata=_by(rules.address))
    port: int = field(default=9817, metadata=_by(rules.integer(0, 65_535)))
    textfile_directory: Path | None = field(default=None, metadata=_by(rules.absolute_path))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """``[retention]`` and ``[source.retention]``: how long snapshots of each class are kept."""

    daily_days: int = field(default=35, metadata=_by(rules.integer(1, _CENTURY_DAYS)))
    monthly_days: int = field(default=396, metadata=_by(rules.integer(1, _CENTURY_DAYS)))
    yearly_days: int = field(default=3653, metadata=_by(rules.integer(1, _CENTURY_DAYS)))
    slack_days: int = field(default=14, metadata=_by(rules.integer(1, 366)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What every ``[[source]]`` has, whatever its kind. ``retention`` is filled in completely."""

    name: str = field(metadata=_by(rules.label))
    schedule: CronSchedule | None = field(default=None, metadata=_by(rules.schedule))
    """None: backed up only when asked for."""
    misfire_grace_seconds: int = field(default=3600, metadata=_by(rules.integer(1, _WEEK_SECONDS)))
    retention: RetentionSettings = field(default_factory=RetentionSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings(SourceSettings):
    """``[[source]]`` with ``kind = "tree"``: a directory and all below it."""

    path: Path = field(metadata=_by(rules.absolute_path))
    include: tuple[str, ...] = field(default=("**",), metadata=_by(rules.include_patterns))
    exclude: tuple[str, ...] = field(default=(), metadata=_by(rules.patterns))
    one_file_system: bool = field(default=True, metadata=_by(rules.flag))
    require_mount: bool = field(default=False, metadata=_by(rules.flag))
    minimum_files: int = field(default=1, metadata=_by(rules.integer(0, 1 << 40)))
    file_attempts: int = field(default=3, metadata=_by(rules.integer(1, 100)))

    def options(self) -> TreeOptions:
        """The part that a ``TreeSource`` is made with."""
        return TreeOptions(
            include=self.include,
            exclude=self.exclude,
            one_file_system=self.one_file_system,
            require_mount=self.require_mount,
            allow_empty=self.minimum_files == 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings(SourceSettings):
    """``[[source]]`` with ``kind = "command"``: what a program prints, kept as one file."""

    command: tuple[str, ...] = field(metadata=_by(rules.argv))
    file_name: str = field(metadata=_by(rules.file_name))
    timeout_seconds: int = field(default=14_400, metadata=_by(rules.integer(1, _WEEK_SECONDS)))
    environment: tuple[tuple[str, str], ...] = field(
        default=(), repr=False, metadata=_by(rules.variables)
    )
    """Names and values; the values may be secret, so they are not shown."""
    minimum_bytes: int = field(default=1, metadata=_by(rules.integer(0, 1 << 50)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file. Source names are unique."""

    vault: VaultSettings
    agent: AgentSettings
    metrics: MetricsSettings
    retention: RetentionSettings
    sources: tuple[TreeSettings | CommandSettings, ...]
