"""The configuration: what is accepted, what is refused, and how."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config_texts import AGENT, COMMAND, TREE, VAULT, document, only_problem, problems, tree
from safelight_agent.config import (
    AgentSettings,
    CommandSettings,
    Config,
    MetricsSettings,
    RetentionSettings,
    S3Settings,
    TreeSettings,
    VaultSettings,
    parse_config,
)
from safelight_agent.config_cron import parse_schedule
from safelight_vault.errors import ConfigurationError
from safelight_vault.store import LockMode


def test_a_short_configuration_gets_the_defaults() -> None:
    config = parse_config(document(sources=(TREE, COMMAND)))
    assert config == Config(
        vault=VaultSettings(url="s3://bucket/prefix", trust=Path("/etc/trust"), s3=S3Settings()),
        agent=AgentSettings(name="pacs-1", state_directory=Path("/var/lib/safelight")),
        metrics=MetricsSettings(),
        retention=RetentionSettings(),
        sources=(
            TreeSettings(name="images", path=Path("/srv/images")),
            CommandSettings(name="database", command=("pg_dump",), file_name="dump"),
        ),
    )


def test_every_value_is_taken_over() -> None:
    config = parse_config(
        document(
            vault=VAULT + 'retention_mode = "governance"\n[vault.s3]\n'
            'endpoint_url = "http://127.0.0.1:8333"\nallow_plaintext_loopback = true\n',
            sources=(
                tree(
                    schedule='"0 30 2 * * sun"', exclude='["*.tmp"]', minimum_files="0",
                ),
                COMMAND + 'environment = {PGPASSWORD = "x", A = "y"}\n',
            ),
        )
    )  # fmt: skip
    images, database = config.sources
    assert config.vault.retention_mode is LockMode.GOVERNANCE
    assert config.vault.s3.endpoint_url == "http://127.0.0.1:8333"
    assert isinstance(images, TreeSettings)
    assert images.schedule == parse_schedule("0 30 2 * * sun")
    assert images.options().exclude == ("*.tmp",)
    assert images.options().allow_empty
    assert isinstance(database, CommandSettings)
    assert dict(database.environment) == {"PGPASSWORD": "x", "A": "y"}


def test_a_sources_retention_fills_up_from_the_general_one() -> None:
    config = parse_config(
        document(
            more="[retention]\ndaily_days = 10\nslack_days = 3",
            sources=(TREE + "[source.retention]\ndaily_days = 20\n", COMMAND),
        )
    )
    assert config.sources[0].retention == RetentionSettings(daily_days=20, slack_days=3)
    assert config.sources[1].retention == config.retention


def test_secrets_in_the_environment_of_a_command_are_not_shown() -> None:
    config = parse_config(document(sources=(COMMAND + 'environment = {PGPASSWORD = "sesame"}',)))
    assert "sesame" not in repr(config)
    refused = problems(
        document(sources=(COMMAND + 'environment = {"9" = "sesame", B = 12345, C = "a\\u0000z"}',))
    )
    assert "'9'" in refused[0]
    assert "value of B" in refused[0]
    assert "value of C" in refused[0]
    assert not re.search("sesame|12345|a.z", refused[0])


def test_all_problems_are_told_at_once_each_with_its_key() -> None:
    found = problems(
        """
        [vault]
        url = "ftp://host/x"
        retention_mode = "none"
        [vault.s3]
        attempts = 0
        [agent]
        name = "Pacs 1"
        state_directory = "var/lib"
        workrs = 2
        compression_level = "high"
        [metrics]
        port = 65536
        [retention]
        daily_days = 400
        [[source]]
        name = "images"
        kind = "tree"
        path = "/srv"
        exclude = ["/", "ok", "a**"]
        [[source]]
        kind = "tape"
        schedule = "1 2 3"
        [tape]
        """
    )
    assert {problem.split(": ")[0] for problem in found} == {
        "tape",
        "vault.url",
        "vault.trust",
        "vault.retention_mode",
        "vault.s3.attempts",
        "agent.name",
        "agent.state_directory",
        "agent.workrs",
        "agent.compression_level",
        "metrics.port",
        "retention.monthly_days",
        "source.images.exclude",
        "source[2].name",
        "source[2].kind",
        "source[2].schedule",
    }
    assert len(found) == 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (document(agent=AGENT + "worker = 1"), ("agent.worker: there is no such setting; "
         "did you mean 'workers'?")),
        (document(sources=(tree(exclud="[]"),)), ("source.images.exclud: there is no such setting; "
         "did you mean 'exclude'?")),
        (document(sources=(COMMAND + "timeout = 5",)), ("source.database.timeout: there is no such "
         "setting; did you mean 'timeout_seconds'?")),
        (document(more="[metric]"), "metric: there is no such setting; did you mean 'metrics'?"),
        (document(more="[zzzz]"), "zzzz: there is no such setting"),
        (document(vault=VAULT + "[vault.s3]\nendpoint = 1"), ("vault.s3.endpoint: there is no such "
         "setting; did you mean 'endpoint_url'?")),
    ],
)  # fmt: skip
def test_an_unknown_setting_is_refused_with_the_nearest_known(text: str, expected: str) -> None:
    assert only_problem(text) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('workers = "2"', "must be a whole number, not text"),
        ("workers = true", "must be a whole number, not true or false"),
        ("workers = 1.0", "must be a whole number, not a fraction"),
        ("workers = 2020-01-01", "must be a whole number, not a date"),
        ("workers = -1", "must be from 0 to 256, not -1"),
        ("pack_size_bytes = 1048575", "must be from 1048576 to 1073741824, not 1048575"),
        ("compression_level = 20", "must be from 1 to 19, not 20"),
        ("read_limit_bytes_per_second = 100", "the unit is bytes per second"),
        ("memory_budget_bytes = 100000000", "must be at least twice agent.pack_size_bytes"),
        ('time_zone = "Mars/Olympus"', "IANA time zone"),
        ('time_zone = "../etc/passwd"', "IANA time zone"),
        ('time_zone = "Europe"', "IANA time zone"),
    ],
)
def test_a_setting_of_the_wrong_type_range_or_unit_is_refused(line: str, reason: str) -> None:
    problem = only_problem(document(agent=AGENT + line))
    assert problem.startswith(f"agent.{line.split(' = ', maxsplit=1)[0]}: ")
    assert reason in problem


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket", "s3://bucket/", "s3://bucket/a/b", "s3://a.b-c/x_1", "s3://bucket/a/",
        "file:///mnt/vault", "file:///mnt/with space/vault/",
    ],
)  # fmt: skip
def test_a_vault_url_is_accepted(url: str) -> None:
    vault = f'url = "{url}"\ntrust = "/t"\naccept_emulated_locks = true'
    assert parse_config(document(vault=vault)).vault.url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://bucket", "must begin with"),
        ("/mnt/vault", "must begin with"),
        ("file:/mnt/vault", "must begin with"),
        ("S3://bucket", "must begin with"),
        ("file://mnt/vault", "file:///mnt/vault"),
        ("file:///", "must name a directory"),
        ("file:///mnt/../etc", "'..'"),
        ("file:///mnt/a%20b", "without '%' escapes"),
        ("file:///mnt/a?b", "must not hold"),
        ("file:///mnt/a\\tb", "control characters"),
        ("s3://key:secret@bucket/x", "credentials"),
        ("s3://Bucket/x", "no bucket name"),
        ("s3:///x", "no bucket name"),
        ("s3://bucket//x", "prefix"),
        ("s3://bucket/../x", "prefix"),
        ("s3://bucket/ü", "prefix"),
        ("s3://bucket/" + "x" * 257, "prefix"),
        ("s3://bucket:port/x", "not a URL"),
    ],
)
def test_a_vault_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    problem = only_problem(document(vault=f'url = "{url}"\ntrust = "/t"'))
    assert problem.startswith("vault.url: ")
    assert reason in problem
    assert "secret" not in problem


def test_a_file_vault_needs_its_emulated_locks_accepted_and_is_told_why() -> None:
    problem = only_problem(document(vault='url = "file:///mnt/vault"\ntrust = "/t"'))
    assert problem.startswith("vault.accept_emulated_locks: must be true")
    assert "guard against mistakes" in problem


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('endpoint_url = "http://s3.example"\nallow_plaintext_loopback = true', "must be https://"),
        ('endpoint_url = "http://localhost:1"', "allow_plaintext_loopback must be true"),
        ('endpoint_url = "https://user:pw@s3.example"', "credentials"),
        ('endpoint_url = "s3.example"', "must be https://"),
    ],
)
def test_an_endpoint_without_tls_is_refused(lines: str, reason: str) -> None:
    assert reason in only_problem(document(vault=f"{VAULT}[vault.s3]\n{lines}"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:8333", "[::1]:8333"])
def test_plaintext_to_this_machine_can_be_allowed(host: str) -> None:
    lines = f'endpoint_url = "http://{host}"\nallow_plaintext_loopback = true'
    parse_config(document(vault=f"{VAULT}[vault.s3]\n{lines}"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"path": '"srv/images"'}, "absolute path"),
        ({"path": '"~/images"'}, "absolute path"),
        ({"path": '"/srv/../etc"'}, "'..'"),
        ({"path": '""'}, "characters without NUL"),
        ({"include": "[]"}, "takes nothing"),
        ({"include": '"*.dcm"'}, "must be a list"),
        ({"exclude": '["a", 1, "//"]'}, ("item 2: must be text in quotes, not a whole number; "
         "item 3: '//' names nothing")),
        ({"name": '"Images"'}, "lower-case"),
        ({"name": '"-images"'}, "no hyphen first"),
        ({"name": '"' + "a" * 64 + '"'}, "1 to 63"),
        ({"name": '"a/b"'}, "lower-case"),
        ({"one_file_system": "1"}, "must be true or false"),
        ({"minimum_files": "-1"}, "must be from 0"),
        ({"schedule": '"daily"'}, "5 fields"),
        ({"retention": "5"}, "must be a table"),
        ({"retention": "{daily_days = 0}"}, "must be from 1"),
    ],
)  # fmt: skip
def test_a_tree_is_refused_with_the_reason(settings: dict[str, str], reason: str) -> None:
    lines = {"name": '"images"', "kind": '"tree"', "path": '"/srv/images"', **settings}
    source = "".join(f"{name} = {value}\n" for name, value in lines.items())
    assert reason in only_problem(document(sources=(source,)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"command": "[]"}, "must name a program"),
        ({"command": '"pg_dump x"'}, "must be a list"),
        ({"command": '["./dump.sh"]'}, "absolute path or a bare"),
        ({"command": '["a", ""]'}, "item 2"),
        ({"file_name": '"a/b"'}, "without '/'"),
        ({"file_name": '".."'}, "file name"),
        ({"file_name": '"' + "ü" * 128 + '"'}, "255 bytes"),
        ({"environment": "[]"}, "must be a table"),
        ({"timeout_seconds": "0"}, "must be from 1"),
        ({"path": '"/x"'}, "there is no such setting"),
    ],
)
def test_a_command_is_refused_with_the_reason(settings: dict[str, str], reason: str) -> None:
    lines = {"name": '"db"', "kind": '"command"', "command": '["x"]', "file_name": '"f"'}
    source = "".join(f"{name} = {value}\n" for name, value in (lines | settings).items())
    assert reason in only_problem(document(sources=(source,)))


def test_two_sources_of_one_name_are_refused() -> None:
    problem = only_problem(document(sources=(TREE, COMMAND, TREE)))
    assert problem == "source.images.name: is given to sources 1 and 3"


def test_a_longer_class_must_not_end_before_a_shorter_one() -> None:
    assert only_problem(document(more="[retention]\nyearly_days = 100")).startswith(
        "retention.yearly_days: must not be less than monthly_days"
    )
    override = tree(retention="{daily_days = 500}")
    assert only_problem(document(sources=(override,))).startswith(
        "source.images.retention.monthly_days"
    )


@pytest.mark.parametrize("missing", ["vault", "agent", "source"])
def test_a_missing_table_is_told(missing: str) -> None:
    tables = {
        "vault": f"[vault]\n{VAULT}", "agent": f"[agent]\n{AGENT}", "source": f"[[source]]\n{TREE}",
    }  # fmt: skip
    del tables[missing]
    assert all(problem.startswith(missing) for problem in problems("\n".join(tables.values())))


@pytest.mark.parametrize(
    "text",
    [
        "vault = 1\nagent = 2\nsource = 3\nmetrics = 4\nretention = []",
        "source = [1, 'x']",
        "[source]\nname = 'images'",
        "[vault]\ns3 = 1",
        "[[vault]]",
    ],
)
def test_a_document_of_the_wrong_shape_is_refused(text: str) -> None:
    assert problems(text)


def test_what_is_not_toml_is_refused_with_the_place() -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        parse_config("[vault]\nurl = s3://bucket")


json_like = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
setting_names = sorted(
    {
        field.name
        for kind in (VaultSettings, S3Settings, AgentSettings, TreeSettings, CommandSettings)
        for field in dataclasses.fields(kind)
    }
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value)


@given(
    st.sampled_from(["vault", "vault.s3", "agent", "metrics", "retention", "source"]),
    st.dictionaries(st.sampled_from(setting_names), json_like, max_size=4),
)
def test_no_value_whatever_crashes_the_check(table: str, values: dict[str, object]) -> None:
    heading = "[[source]]" if table == "source" else f"[{table}]"
    lines = "".join(
        f"{name} = {toml(value)}\n" for name, value in values.items()
        if not re.search("[\ud800-\udfff]", str(value))
    )  # fmt: skip
    with pytest.raises(ConfigurationError):
        parse_config(f"{heading}\n{lines}")
