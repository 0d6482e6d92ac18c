"""Configuration texts for tests: a document from parts, and the problems found in one."""

import pytest

from safelight_agent.config import (
    parse_config,
)
from safelight_vault.errors import ConfigurationError

VAULT = 'url = "s3://bucket/prefix"\ntrust = "/etc/trust"\n'
AGENT = 'name = "pacs-1"\nstate_directory = "/var/lib/safelight"\n'
TREE = 'name = "images"\nkind = "tree"\npath = "/srv/images"\n'
COMMAND = 'name = "database"\nkind = "command"\ncommand = ["pg_dump"]\nfile_name = "dump"\n'


def document(
    *, vault: str = VAULT, agent: str = AGENT, sources: tuple[str, ...] = (TREE,), more: str = ""
) -> str:
    listed = "".join(f"[[source]]\n{source}\n" for source in sources)
    return f"[vault]\n{vault}\n[agent]\n{agent}\n{more}\n{listed}"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text)
    heading, *lines = caught.value.message.split("\n  ")
    assert heading.endswith("in the configuration")
    assert heading.startswith(f"{len(lines)} problem")
    return lines


def only_problem(text: str) -> str:
    (problem,) = problems(text)
    return problem


def tree(**settings: str) -> str:
    return TREE + "".join(f"{name} = {value}\n" for name, value in settings.items())
