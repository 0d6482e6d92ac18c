"""The systemd units: accepted by systemd's own checker, hardened, and true to the programs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from services import require_service

FOLDER = Path(__file__).parents[1] / "packaging" / "systemd"
UNITS = sorted(path.name for path in FOLDER.iterdir())
SERVICES = [name for name in UNITS if name.endswith(".service")]
INSTALLED = "/opt/safelight/bin/"


def verify(
    directory: Path, name: str, *, change: tuple[str, str] = ("", "")
) -> subprocess.CompletedProcess[str]:
    """Check a unit of which the program is installed, after a change to its text."""
    present = shutil.which("systemd-analyze") is not None
    require_service(present, "systemd-analyze is not installed")
    for unit in FOLDER.iterdir():
        text = unit.read_text().replace(INSTALLED, f"{directory}/").replace(*change)
        (directory / unit.name).write_text(text)
    for program in ("safelight-agent", "safelight-restore"):
        (directory / program).touch(mode=0o755)
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--generators=no", directory / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_the_unit(tmp_path: Path, name: str) -> None:
    checked = verify(tmp_path, name)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_systemds_check_notices_a_wrong_line(tmp_path: Path, name: str) -> None:
    checked = verify(tmp_path, name, change=("NoNewPrivileges=", "NoNewPrivilege="))
    assert "NoNewPrivilege" in checked.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_without_root_and_writes_only_its_state(name: str) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / name).read_text(), re.MULTILINE))
    assert settings["User"] not in {"root", "0"}
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] in {"", "CAP_DAC_READ_SEARCH"}
    assert settings["ReadWritePaths"] == f"/var/lib/{settings['StateDirectory']}"
    assert settings["UMask"] == "0077"


def test_only_the_agent_may_read_files_of_others() -> None:
    may = [name for name in SERVICES if "CAP_DAC_READ_SEARCH" in (FOLDER / name).read_text()]
    assert may == ["safelight-agent.service", "safelight-backup@.service"]
