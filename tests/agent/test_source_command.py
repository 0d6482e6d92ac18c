"""The output of a command counts only if the command ended well (fault 16)."""

import os
import time
from pathlib import Path

import pytest

from safelight_agent.source import CommandFailedError
from safelight_agent.source.command import STDERR_TAIL_BYTES, CommandOutput, CommandSource

SECRET = "DOE^JANE"


def shell(script: str, *, timeout_seconds: float = 20, minimum_bytes: int = 1) -> CommandSource:
    return CommandSource(
        ["/bin/sh", "-c", script],
        {},
        timeout_seconds,
        minimum_bytes=minimum_bytes,
        grace_seconds=0.3,
    )


def read_all(output: CommandOutput) -> bytes:
    pieces = []
    while piece := output.read(10_000):
        pieces.append(piece)
    return b"".join(pieces)


def run(source: CommandSource) -> bytes:
    with source.open() as output:
        return read_all(output)


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_ended(process_id: int) -> bool:
    end = time.monotonic() + 5
    while is_running(process_id) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_running(process_id)


def test_the_output_of_a_good_command_is_read_to_its_end() -> None:
    with shell("printf 'one\\ntwo'").open() as output:
        assert read_all(output) == b"one\ntwo"
        assert output.read(10) == b""


def test_an_output_larger_than_a_pipe_is_read_whole() -> None:
    assert len(run(shell("head -c 3000000 /dev/zero"))) == 3_000_000


def test_arguments_go_to_the_program_without_a_shell() -> None:
    source = CommandSource(["printf", "%s", "$HOME; exit 1"], {}, 20)
    assert run(source) == b"$HOME; exit 1"


def test_the_command_sees_its_own_environment_and_not_the_agents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the vault")
    source = CommandSource(["env"], {"PGPASSFILE": "/etc/pgpass"}, 20)
    names = {line.split(b"=")[0] for line in run(source).splitlines()}
    assert names == {b"PATH", b"PGPASSFILE"}


def test_fault_16_a_command_that_fails_after_its_output_fails_at_the_end() -> None:
    with shell("echo half a dump; exit 1").open() as output:
        assert output.read(1000) == b"half a dump\n"
        with pytest.raises(CommandFailedError, match="ended with status 1"):
            output.read(1000)
        with pytest.raises(CommandFailedError):  # asking again does not make it good
            output.read(1000)


def test_fault_16_a_command_that_prints_nothing_has_failed() -> None:
    with pytest.raises(CommandFailedError, match="printed 0 bytes"):
        run(shell("true"))
    assert run(shell("true", minimum_bytes=0)) == b""


def test_fault_16_a_command_that_prints_too_little_has_failed() -> None:
    with pytest.raises(CommandFailedError, match="printed 4 bytes"):
        run(shell("printf abcd", minimum_bytes=5))
    assert run(shell("printf abcd", minimum_bytes=4)) == b"abcd"


def test_fault_16_a_command_that_is_killed_has_failed() -> None:
    with pytest.raises(CommandFailedError, match=r"signal 9 \(SIGKILL\)"):
        run(shell("echo some; kill -9 $$"))


def test_fault_16_a_command_that_hangs_runs_out_of_time() -> None:
    with pytest.raises(CommandFailedError, match=r"within 0\.2 seconds"):
        run(shell("echo some; exec sleep 60", timeout_seconds=0.2))


def test_fault_16_a_command_that_hangs_after_its_output_runs_out_of_time() -> None:
    with pytest.raises(CommandFailedError, match="within"):
        run(shell("echo some; exec >&-; exec 2>&-; exec sleep 60", timeout_seconds=0.2))


def test_a_program_that_is_not_there_is_a_failed_command() -> None:
    with (
        pytest.raises(CommandFailedError, match=r"could not be started \(ENOENT"),
        CommandSource(["/no/such/program"], {}, 20).open(),
    ):
        pass


def test_what_stderr_says_is_kept_out_of_the_message() -> None:
    with pytest.raises(CommandFailedError) as caught:
        run(shell(f"echo data; echo {SECRET} >&2; exit 3"))
    assert SECRET not in str(caught.value)
    assert f"{len(SECRET) + 1} bytes on stderr" in str(caught.value)
    assert caught.value.stderr_tail == f"{SECRET}\n".encode()


def test_a_long_stderr_blocks_nothing_and_keeps_only_its_end() -> None:
    with shell("head -c 1000000 /dev/zero >&2; printf end >&2; printf data").open() as output:
        assert read_all(output) == b"data"
        assert output.stderr_bytes == 1_000_003
        assert len(output.stderr_tail) == STDERR_TAIL_BYTES
        assert output.stderr_tail.endswith(b"\0end")


def test_a_reader_that_gives_up_ends_the_command_and_its_children() -> None:
    with shell("sleep 60 & echo $!; echo $$; wait").open() as output:
        lines = b""
        while lines.count(b"\n") < 2:
            lines += output.read(100)
    child, parent = map(int, lines.split())
    assert wait_until_ended(child)
    assert not is_running(parent)


def test_a_command_that_ignores_the_polite_signal_is_killed() -> None:
    begun = time.monotonic()
    with shell("trap '' TERM; echo $$; while :; do sleep 1; done").open() as output:
        process_id = int(output.read(100))
    assert not is_running(process_id)
    assert time.monotonic() - begun < 10


def test_a_child_left_in_the_background_does_not_outlive_the_command() -> None:
    with shell("sleep 60 >&- & echo $!").open() as output:
        process_id = int(read_all(output))
    assert wait_until_ended(process_id)


@pytest.mark.parametrize("ending", ["exit 0", "exit 1"])
def test_nothing_is_left_behind(ending: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with shell(f"echo $$; {ending}").open() as output:
        process_id = int(output.read(100))
    assert len(os.listdir("/proc/self/fd")) == before
    assert not Path(f"/proc/{process_id}").exists()  # not even as a zombie
