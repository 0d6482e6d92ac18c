"""The shape of the code is tested, not remembered.

Every rule is also held against a piece of code that breaks it, so that none can go blind.
"""

import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shape_rules import (
    DOORS,
    EVERYWHERE,
    IN_PACKAGES,
    ROOT,
    SOURCE_ROOTS,
    Code,
    Rule,
    all_python,
    assertions,
    closed_doors,
    code,
    imports,
    long_functions,
    long_modules,
    missing_docstrings,
    outside_in,
    packages,
    relative_imports,
    wrong_directions,
)

VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "base", "stuff"}
TEST_FOLDERS = {
    "agent",
    "anomaly",
    "contract",
    "end_to_end",
    "independent_reader",
    "model",
    "restore",
    "vault",
}
TEST_NAME = re.compile(r"test(_[a-z0-9]+)+\.py")
EMPTY_TEST_NAMES = {"cov", "misc", "more", "extra", "various", "tmp", "fix", "bug", "issue"}
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|root|Users|home)/")


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", EVERYWHERE, ids=named)
def test_all_python_keeps_the_rule(rule: Rule) -> None:
    assert [problem for module in all_python() for problem in rule(module)] == []


@pytest.mark.parametrize("rule", IN_PACKAGES, ids=named)
def test_the_packages_keep_the_rule(rule: Rule) -> None:
    assert [problem for module in packages() for problem in rule(module)] == []


BREACHES: dict[Rule, list[str]] = {
    long_modules: ["x = 1\n" * 401],
    long_functions: ["def f():\n" + "    x = 1\n" * 70],
    relative_imports: ["from . import wire"],
    missing_docstrings: [
        "x = 1",
        '"""A."""\ndef f(): ...',
        '"""A."""\nclass C: ...',
        '"""A."""\nclass C:\n    """A."""\n    def f(self): ...',
    ],
    assertions: ["def f(x):\n    assert x"],
    wrong_directions: [
        "import safelight_agent.backup",
        "from safelight_restore import plan",
        "def f():\n    import safelight_agent",
    ],
    closed_doors: [
        "import boto3",
        "def f():\n    from cryptography.hazmat import x",
        "import requests",
    ],
    outside_in: [
        "import os\nx = os.environ['A']",
        "from os import environ as e\nx = e",
        "import os as o\nx = o.urandom(1)",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime as d\nx = d.datetime.utcnow",
        "import time\nx = time.time",
        "from secrets import token_bytes\nx = token_bytes(1)",
        "import random\nx = random.random()",
        "import random\nx = random.SystemRandom()",
        "print(1)",
    ],
}


@pytest.mark.parametrize("rule", [*EVERYWHERE, *IN_PACKAGES], ids=named)
def test_each_rule_notices_what_it_forbids(rule: Rule) -> None:
    for text in BREACHES[rule]:
        assert list(rule(code(text))), text


def test_the_rules_allow_what_they_are_there_to_allow() -> None:
    sample = code(
        '"""A."""\nimport time\nimport random\nimport zstandard\nfrom datetime import datetime\n'
        "def _f(x: random.Random, y: datetime) -> None:\n    time.monotonic()\n    x.random()\n",
        name="safelight_vault.format.codec.zstd",
    )
    for rule in (*EVERYWHERE, *IN_PACKAGES):
        assert list(rule(sample)) == []


def test_every_door_leads_somewhere() -> None:
    used = {
        (name.partition(".")[0], module.name)
        for module in packages()
        for _, name in imports(module)
    }
    unused = [
        (library, door)
        for library, doors in DOORS.items()
        for door in doors
        if library != "_typeshed" and (library, door) not in used
    ]
    assert unused == []


def cycles(modules: tuple[Code, ...]) -> list[str]:
    """The modules of an import cycle, or nothing."""
    names = {module.name for module in modules}
    graph = {
        module.name: {
            name if name in names else name.rpartition(".")[0] for _, name in imports(module)
        }
        & names
        for module in modules
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_imports_make_no_cycle() -> None:
    assert cycles(packages()) == []


def test_a_cycle_is_noticed() -> None:
    first = code("from safelight_vault import b", name="safelight_vault.a")
    second = code("def f():\n    from safelight_vault.a import x", name="safelight_vault.b")
    assert set(cycles((first, second))) == {"safelight_vault.a", "safelight_vault.b"}


def test_the_layers_of_pyproject_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    linted = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_module_has_a_vague_name() -> None:
    vague = [
        module.path
        for module in all_python()
        if VAGUE_NAMES
        & {word for part in Path(module.path).parts for word in re.split(r"[_.]", part)}
    ]
    assert vague == []


def test_packaging_holds_no_python() -> None:
    # As a package it would hide the library "packaging" from pytest and pip.
    assert [str(path) for path in (ROOT / "packaging").rglob("*.py")] == []


def test_test_files_lie_in_a_known_folder_and_are_named_after_what_they_test() -> None:
    tests = ROOT / "tests"
    for path in sorted(tests.rglob("*.py")):
        folder = path.relative_to(tests).parts[0] if path.parent != tests else ""
        assert path.name != "__init__.py", path
        if folder in {"support", "vectors"}:
            assert not path.name.startswith("test_"), f"{path} would never be run"
            continue
        if path.name == "conftest.py" or not path.name.startswith("test"):
            continue
        assert folder in TEST_FOLDERS | {""}, path
        assert TEST_NAME.fullmatch(path.name), path
        assert not EMPTY_TEST_NAMES & set(path.stem.split("_")), path


def texts() -> Iterator[tuple[Path, str]]:
    """Every file of text that we ship, without what tools leave behind."""
    folders = (*SOURCE_ROOTS, "tests", "packaging", "docs", "benchmarks", ".ci")
    inside = (path for folder in folders for path in sorted((ROOT / folder).rglob("*")))
    beside = (path for path in sorted(ROOT.iterdir()) if path.suffix in {".md", ".toml", ""})
    for path in (*inside, *beside):
        if path.is_file() and "__pycache__" not in path.parts and "vectors" not in path.parts:
            yield path, path.read_text()


def test_no_file_names_a_directory_of_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []
