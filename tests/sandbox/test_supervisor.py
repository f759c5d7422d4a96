"""Real small programs: ready, dying, given up, stopped, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from sandbox.child import Program
from sandbox.processes import is_alive, wait_for
from sandbox.supervisor import Patience, Supervisor
from shared.errors import ServiceUnavailable

LIMIT_S = 60
QUICK = Patience(ready_s=60, max_restarts=2, first_pause_s=0.01)
FOREVER = "import signal; signal.pause()"
PARENT = """
    import pathlib, subprocess, sys
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
    pathlib.Path("child").write_text(str(child.pid))
    child.wait()
"""
STUBBORN = """
    import pathlib, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path("ready").touch()
    while True:
        signal.pause()
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    """Make a program of a name and a script; it works in the test's folder."""

    def make(name: str, script: str, ready_file: str | None = None) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-I", "-S", "-c", dedent(script)),
            environment={"PATH": os.environ["PATH"]},
            cwd=tmp_path,
            ready=None if ready_file is None else (tmp_path / ready_file).exists,
            stop_timeout_s=LIMIT_S,
        )

    return make


@pytest.fixture
def no_orphans(tmp_path: Path) -> Iterator[None]:
    """After the test no process works in its folder."""
    yield
    assert wait_for(lambda: not in_folder(tmp_path), LIMIT_S), in_folder(tmp_path)


def is_replaced(supervisor: Supervisor, name: str, pid: int) -> bool:
    return supervisor.pids(name) not in ([], [pid])


pytestmark = pytest.mark.usefixtures("no_orphans")


def in_folder(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and is_alive(process.pid):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_start_returns_when_all_are_ready_and_stop_ends_all(tmp_path: Path, program: Callable[..., Program]) -> None:
    slow = "import pathlib, time, signal; time.sleep(0.2); pathlib.Path('slow').touch(); signal.pause()"
    supervisor = Supervisor(tmp_path, [program("slow", slow, "slow"), program("plain", FOREVER)])
    supervisor.start()
    assert (tmp_path / "slow").exists()
    pids = supervisor.pids("slow") + supervisor.pids("plain")
    assert len(pids) == 2
    assert all(is_alive(pid) for pid in pids)
    supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)
    assert supervisor.pids("slow") == []
    supervisor.stop()


def test_output_of_both_kinds_goes_to_a_private_log(tmp_path: Path, program: Callable[..., Program]) -> None:
    script = """
        import os, pathlib, signal
        os.write(1, b"said\\n"); os.write(2, b"complained\\n")
        pathlib.Path("ready").touch(); signal.pause()
    """
    with Supervisor(tmp_path, [program("talker", script, "ready")]) as supervisor:
        log = supervisor.log_path("talker")
        assert log == tmp_path / "logs" / "talker.log"
        assert log.read_text() == "said\ncomplained\n"
        assert log.stat().st_mode & 0o777 == 0o600


def test_a_program_that_ends_early_is_named_with_its_last_words_and_the_others_are_stopped(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "broken.log").write_text("of yesterday\n")
    broken = program("broken", "raise SystemExit('no such option')", "never")
    supervisor = Supervisor(tmp_path, [program("fine", FOREVER), broken], patience=QUICK)
    with pytest.raises(ServiceUnavailable, match=r"program broken ended.*exit code 1(.|\n)*no such option") as raised:
        supervisor.start()
    assert "of yesterday" not in str(raised.value)
    assert in_folder(tmp_path) == []


def test_a_program_that_is_not_ready_in_time_is_named(tmp_path: Path, program: Callable[..., Program]) -> None:
    never = program("sleeper", FOREVER, "never")
    with pytest.raises(ServiceUnavailable, match=r"not ready after 0\.3 s: sleeper"):
        Supervisor(tmp_path, [program("fine", FOREVER), never], patience=Patience(ready_s=0.3)).start()


def test_a_command_that_does_not_exist_is_named(tmp_path: Path, program: Callable[..., Program]) -> None:
    missing = replace(program("missing", ""), argv=("no-such-command",))
    with pytest.raises(ServiceUnavailable, match="program missing cannot be started: No such file"):
        Supervisor(tmp_path, [program("fine", FOREVER), missing]).start()


def test_two_programs_of_one_name_are_refused(tmp_path: Path, program: Callable[..., Program]) -> None:
    with pytest.raises(ValueError, match="different names"):
        Supervisor(tmp_path, [program("twin", FOREVER), program("twin", FOREVER)])


def test_a_program_that_dies_is_started_again_without_its_orphans(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    with Supervisor(tmp_path, [program("parent", PARENT, "child")], patience=QUICK) as supervisor:
        assert wait_for(lambda: len(supervisor.pids("parent")) == 2, LIMIT_S)
        before = supervisor.pids("parent")
        os.kill(before[0], signal.SIGKILL)
        assert wait_for(lambda: len(now := supervisor.pids("parent")) == 2 and not set(now) & set(before), LIMIT_S)
        assert not any(is_alive(pid) for pid in before)
        assert supervisor.failure is None


def test_a_killed_grandchild_is_its_parents_business(tmp_path: Path, program: Callable[..., Program]) -> None:
    script = f"""
        import pathlib, subprocess, sys
        while True:
            child = subprocess.Popen([sys.executable, "-I", "-S", "-c", {FOREVER!r}])
            pathlib.Path("child").touch()
            child.wait()
    """
    with Supervisor(tmp_path, [program("pool", script, "child")], patience=QUICK) as supervisor:
        assert wait_for(lambda: len(supervisor.pids("pool")) == 2, LIMIT_S)
        leader, child = supervisor.pids("pool")
        os.kill(child, signal.SIGKILL)
        assert wait_for(lambda: len(now := supervisor.pids("pool")) == 2 and child not in now, LIMIT_S)
        assert supervisor.pids("pool")[0] == leader


def test_a_program_that_keeps_dying_is_given_up_loudly_and_the_others_go_on(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    script = """
        import os, pathlib, signal, sys
        starts = pathlib.Path("starts")
        starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
        while starts.read_text() == "x" and not pathlib.Path("now").exists():
            pass
        sys.exit("out of luck")
    """
    with Supervisor(
        tmp_path, [program("doomed", script, "starts"), program("fine", FOREVER)], patience=QUICK
    ) as supervisor:
        supervisor.wait(limit_s=0)
        (tmp_path / "now").touch()
        with pytest.raises(ServiceUnavailable, match=r"program doomed died 3 times in a row(.|\n)*out of luck"):
            supervisor.wait(LIMIT_S)
        assert (tmp_path / "starts").read_text() == "xxx"
        assert len(supervisor.pids("fine")) == 1
        assert supervisor.pids("doomed") == []


def test_a_program_that_ran_long_enough_is_forgiven_its_deaths(tmp_path: Path, program: Callable[..., Program]) -> None:
    forgiving = replace(QUICK, max_restarts=1, stable_s=0)
    with Supervisor(tmp_path, [program("cat", FOREVER)], patience=forgiving) as supervisor:
        for _ in range(3):
            assert wait_for(lambda: len(supervisor.pids("cat")) == 1, LIMIT_S)
            (pid,) = supervisor.pids("cat")
            os.kill(pid, signal.SIGKILL)
            assert wait_for(partial(is_replaced, supervisor, "cat", pid), LIMIT_S)
        assert supervisor.failure is None


def test_a_program_that_ignores_its_stop_signal_is_killed_with_its_children(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    stubborn = replace(program("stubborn", STUBBORN, "ready"), stop_timeout_s=0.2)
    supervisor = Supervisor(tmp_path, [stubborn, program("parent", PARENT, "child")])
    supervisor.start()
    pids = supervisor.pids("stubborn") + supervisor.pids("parent")
    supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)


def test_a_program_is_asked_with_its_own_signal_and_given_its_time(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    script = """
        import pathlib, signal, sys, time
        def leave(*_):
            time.sleep(0.3)
            pathlib.Path("left").write_text("in order")
            sys.exit()
        signal.signal(signal.SIGQUIT, leave)
        pathlib.Path("ready").touch()
        while True:
            signal.pause()
    """
    with Supervisor(tmp_path, [replace(program("polite", script, "ready"), stop_signal=signal.SIGQUIT)]):
        pass
    assert (tmp_path / "left").read_text() == "in order"


def test_a_killed_supervisor_takes_everybody_along(tmp_path: Path, program: Callable[..., Program]) -> None:
    parent, stubborn = program("parent", PARENT), program("stubborn", STUBBORN)
    script = dedent(f"""
        import sys
        from pathlib import Path
        from sandbox.child import Program
        from sandbox.supervisor import Supervisor
        here = Path({str(tmp_path)!r})
        parent = Program("parent", {parent.argv!r}, {{}}, here, ready=(here / "child").exists)
        stubborn = Program("stubborn", {stubborn.argv!r}, {{}}, here, (here / "ready").exists, stop_timeout_s=0.2)
        with Supervisor(here, [parent, stubborn]) as supervisor:
            print(supervisor._guard.pid, *supervisor.pids("parent"), *supervisor.pids("stubborn"), flush=True)
            sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 4
        starter.kill()
    assert wait_for(lambda: not any(is_alive(pid) for pid in pids), LIMIT_S)


def test_cpu_time_counts_ended_children_and_ended_starts(tmp_path: Path, program: Callable[..., Program]) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    script = f"""
        import pathlib, signal, subprocess, sys
        subprocess.run([sys.executable, "-I", "-S", "-c", {burn!r}])
        pathlib.Path("burnt").touch()
        signal.pause()
    """
    with Supervisor(tmp_path, [program("burner", script, "burnt")], patience=QUICK) as supervisor:
        once = supervisor.cpu_seconds("burner")
        assert once >= 0.29  # the system counts in hundredths
        (tmp_path / "burnt").unlink()
        os.kill(supervisor.pids("burner")[0], signal.SIGKILL)
        # Not only until the child has burnt so much: who ends while its parent is being stopped is counted by nobody.
        assert wait_for((tmp_path / "burnt").exists, LIMIT_S)
        assert supervisor.cpu_seconds("burner") >= once + 0.29
    assert supervisor.cpu_seconds("burner") >= once + 0.29


def test_memory_counts_children_and_remembers_the_peak(tmp_path: Path, program: Callable[..., Program]) -> None:
    megabyte = 1 << 20
    hog = "import pathlib, signal; a = b'x' * (64 << 20); del a; pathlib.Path('grown').touch(); signal.pause()"
    script = f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-I", "-S", "-c", {hog!r}])
    """
    with Supervisor(tmp_path, [program("hog", script, "grown")]) as supervisor:
        assert 2 * megabyte < supervisor.rss_bytes("hog") < 64 * megabyte
        assert supervisor.peak_rss_bytes("hog") > 64 * megabyte


def test_stopping_is_not_kept_waiting_by_the_pause_before_a_restart(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    patience = replace(QUICK, first_pause_s=3600)
    supervisor = Supervisor(tmp_path, [program("gone", FOREVER)], patience=patience)
    supervisor.start()
    os.kill(supervisor.pids("gone")[0], signal.SIGKILL)
    assert wait_for(lambda: supervisor.pids("gone") == [], LIMIT_S)
    begun = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begun < LIMIT_S
