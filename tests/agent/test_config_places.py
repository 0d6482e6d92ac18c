"""Places in a configuration: what must not lie within what, and the file itself."""

from pathlib import Path

import pytest

from config_texts import document, only_problem, tree
from safelight_agent.config import (
    TreeSettings,
    load_config,
    parse_config,
)
from safelight_agent.source.tree import TreeSource
from safelight_vault.errors import ConfigurationError


def test_the_agents_state_must_not_be_part_of_a_source() -> None:
    problem = only_problem(document(sources=(tree().replace("/srv/images", "/var"),)))
    assert problem.startswith("agent.state_directory: /var/lib/safelight is part of source.images")
    same = tree().replace("/srv/images", "/var/lib/safelight")
    assert "is part of" in only_problem(document(sources=(same,)))


def test_a_file_vault_must_not_be_part_of_a_source() -> None:
    vault = 'url = "file:///srv/images/vault"\ntrust = "/t"\naccept_emulated_locks = true'
    problem = only_problem(document(vault=vault))
    assert problem.startswith("vault.url: /srv/images/vault is part of source.images")


def test_a_source_must_not_lie_in_the_vault() -> None:
    vault = 'url = "file:///srv"\ntrust = "/t"\naccept_emulated_locks = true'
    assert only_problem(document(vault=vault)).startswith("source.images.path: ")


@pytest.mark.parametrize("directory", ["/var", "/var/lib/safelight", "/var/lib/safelight/vault"])
def test_vault_and_state_must_not_lie_in_one_another(directory: str) -> None:
    vault = f'url = "file://{directory}"\ntrust = "/t"\naccept_emulated_locks = true'
    problem = only_problem(document(vault=vault))
    assert problem.startswith("agent.state_directory: ")
    assert "must not lie in one another" in problem


@pytest.mark.parametrize(
    "settings",
    [{"exclude": '["/lib/safelight"]'}, {"exclude": '["lib/"]'}, {"include": '["/log/**"]'}],
)
def test_a_place_that_the_patterns_leave_out_is_no_part_of_the_source(
    settings: dict[str, str],
) -> None:
    parse_config(document(sources=(tree(**settings).replace("/srv/images", "/var"),)))


def test_neighbours_with_a_common_beginning_do_not_lie_in_one_another() -> None:
    parse_config(document(sources=(tree().replace("/srv/images", "/var/lib/safe"),)))


def test_a_file_is_loaded_and_its_problems_name_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(document())
    assert load_config(file) == parse_config(document())
    file.write_text("[agent]")
    with pytest.raises(ConfigurationError, match=r"agent\.toml: \d+ problems"):
        load_config(file)


def test_links_are_resolved_before_places_are_compared(tmp_path: Path) -> None:
    (tmp_path / "real" / "state").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    file = tmp_path / "agent.toml"
    agent = f'name = "pacs-1"\nstate_directory = "{tmp_path}/link/state"\n'
    source = tree().replace("/srv/images", f"{tmp_path}/real")
    file.write_text(document(agent=agent, sources=(source,)))
    with pytest.raises(ConfigurationError, match="is part of"):
        load_config(file)


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ENOENT"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match="EISDIR"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_config(tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="larger than"):
        load_config(tmp_path / "huge")


def test_a_configured_tree_can_be_scanned(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").touch()
    (tmp_path / "a.tmp").touch()
    source = tree(exclude='["*.tmp"]').replace("/srv/images", str(tmp_path))
    (settings,) = parse_config(document(sources=(source,))).sources
    assert isinstance(settings, TreeSettings)
    listed = [item.path for item in TreeSource(settings.path, settings.options()).scan()]
    assert listed == [b"", b"a.dcm"]
