"""The example configuration is true: it loads, and holds every setting with its default."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from safelight_agent.config import (
    AgentSettings,
    CommandSettings,
    MetricsSettings,
    RetentionSettings,
    S3Settings,
    TreeSettings,
    VaultSettings,
    load_config,
    parse_config,
)

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def example_settings() -> list[tuple[str, str, str, str]]:
    """Table, name, value as text, and the comment above it, of each setting in the example.

    A table's name has the kind of source added, so that ``path`` is told from ``command``.
    """
    found = []
    table = ""
    comment: list[str] = []
    for line in EXAMPLE.read_text().splitlines():
        setting = re.fullmatch(r"#?([a-z][a-z0-9_]*) = (.*)", line)
        if heading := re.fullmatch(r"\[+([a-z0-9.]+)\]+", line):
            table = heading[1]
            comment = []
        elif setting:
            found.append((table, setting[1], setting[2], " ".join(comment)))
            if setting[1] == "kind":
                table = f"source {setting[2]}"
        elif line.startswith("# "):
            comment.append(line[2:])
        elif not line.strip("#"):
            comment = []
    return found


def test_the_example_loads() -> None:
    config = load_config(EXAMPLE)
    assert [type(source) for source in config.sources] == [TreeSettings, CommandSettings]


def test_the_example_loads_with_every_comment_taken_away() -> None:
    text = re.sub(r"(?m)^#(?=[a-z][a-z0-9_]* = )", "", EXAMPLE.read_text())
    config = parse_config(text)
    assert config.sources[0].schedule is not None
    assert config.vault.s3.region is not None


SCHEMA = {
    "vault": VaultSettings,
    "vault.s3": S3Settings,
    "agent": AgentSettings,
    "metrics": MetricsSettings,
    "retention": RetentionSettings,
    'source "tree"': TreeSettings,
    "source.retention": RetentionSettings,
    'source "command"': CommandSettings,
}
SHARED_BY_SOURCES = {"name", "schedule", "misfire_grace_seconds"}


@pytest.mark.parametrize("table", SCHEMA)
def test_the_example_has_every_setting_with_its_default(table: str) -> None:
    own = {table, "source"} if table.startswith("source ") else {table}
    shown = {name: text for where, name, text, _ in example_settings() if where in own}
    for field in dataclasses.fields(SCHEMA[table]):
        if "rule" not in field.metadata or (
            table == 'source "command"' and field.name in SHARED_BY_SOURCES
        ):
            continue
        assert field.name in shown, f"{table}.{field.name} is missing"
        value = field.metadata["rule"](tomllib.loads(f"x = {shown[field.name]}")["x"])
        if field.default is not dataclasses.MISSING and field.default is not None:
            assert value == field.default, f"{table}.{field.name}"


def test_the_example_explains_every_setting() -> None:
    for table, name, text, comment in example_settings():
        if table == "source.retention" or (table, text) == ("source", '"database"'):
            continue  # explained where they stand first
        if name == "kind" and text == '"command"':
            continue
        assert "Required." in comment or "Default: " in comment, f"{table}.{name}"
        if "Default: " in comment and "Default: not set" not in comment:
            told = comment.split("Default: ")[1]
            assert told.startswith(text.rstrip()), f"{table}.{name}: {told}"
