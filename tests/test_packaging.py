"""The wheel: what is in it, and that the restore tool works where nothing else is installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"safelight_vault", "safelight_agent", "safelight_restore"}
AGENT_ONLY = ("apscheduler", "prometheus_client", "pyfastcdc")

COMMANDS = ("keygen", "enrol", "snapshots", "restore", "verify", "drill", "audit")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this environment's Python settings; its output, or a failed test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(name="wheel", scope="module")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", directory, ROOT, cwd=directory)
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        scripts = archive.read(metadata[0]).decode()
    expected = {
        path.relative_to(ROOT / root).as_posix()
        for root in ("vault", "agent", "restore")
        for path in (ROOT / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == expected
    assert {name.partition("/")[0] for name in files} == PACKAGES
    assert "safelight-agent = safelight_agent.cli:main" in scripts
    assert "safelight-restore = safelight_restore.cli:main" in scripts


def test_the_restore_tool_works_on_a_bare_machine(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "bare"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(
        *(python, "-m", "pip", "--quiet", "--disable-pip-version-check"),
        *("install", "--no-compile", wheel),
        cwd=tmp_path,
    )
    absent = f"import importlib.util as u; print([n for n in {AGENT_ONLY} if u.find_spec(n)])"
    assert run(python, "-c", absent, cwd=tmp_path).strip() == "[]"
    where = run(python, "-c", "import safelight_restore as r; print(r.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)

    program = environment / "bin" / "safelight-restore"
    keys = tmp_path / "keys"
    keys.mkdir()
    offered = run(program, "--help", cwd=tmp_path)
    assert [command for command in COMMANDS if command not in offered] == []
    run(program, "--identity", keys / "identity.key", "keygen", cwd=tmp_path)
    assert (keys / "identity.key").stat().st_size > 0
