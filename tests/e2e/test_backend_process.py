"""Starting, finding and losing a backend, as the add-on does: nobody must be left with 'Starting...'."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from server_harness import backend_environment, wait_until

from blender_addon.client import backend_location
from blender_addon.client.backend_process import BackendPhase, BackendProcess, BackendState
from blender_addon.client.http_client import BackendClient, BackendError
from blender_addon.client.messages import ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import PROTOCOL_VERSION, package_version

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "a-token-that-only-the-tests-know"


@pytest.fixture
def make_backend(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    """Makes backends that cannot outlive the test."""
    made: list[BackendProcess] = []

    def make(python: Path = Path(sys.executable), start_timeout: float = 30.0) -> BackendProcess:
        folder = tmp_path / "add-on folder ü"
        made.append(BackendProcess(python, folder, tmp_path / "data", start_timeout, backend_environment()))
        return made[-1]

    yield make
    for backend in made:
        backend.stop(patience=0.1)


def fake_python(folder: Path, script: str) -> Path:
    """An interpreter that does something else than a backend."""
    path = folder / "python"
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(0o755)
    return path


def settled(backend: BackendProcess) -> BackendState:
    def look() -> BackendState | None:
        started = time.perf_counter()
        state = backend.poll()
        assert time.perf_counter() - started < 1.0, "poll() must not wait"
        return state if state.phase is not BackendPhase.STARTING else None

    return wait_until(look, "the backend to settle")


def test_generate_works_after_one_start_and_stop_leaves_no_process(
    make_backend: Callable[..., BackendProcess],
) -> None:
    backend = make_backend()
    assert backend.start().phase is BackendPhase.STARTING
    state = settled(backend)
    assert (state.phase, state.error) == (BackendPhase.RUNNING, "")
    assert state.version == package_version()
    assert backend.start() == state
    health = backend.client().health()
    assert (health.protocol, health.version) == (PROTOCOL_VERSION, package_version())
    process = psutil.Process(backend.pid)
    assert backend.token not in " ".join(process.cmdline())
    backend.stop()
    assert not process.is_running()
    assert backend.poll().phase is BackendPhase.STOPPED
    assert not list(backend.log_file.parent.glob("ready-*"))
    with pytest.raises(BackendError, match="start it first"):
        backend.client()


def test_a_backend_that_is_killed_shows_as_failed_and_can_be_started_again(
    make_backend: Callable[..., BackendProcess],
) -> None:
    backend = make_backend()
    backend.start()
    settled(backend)
    client = backend.client(timeout=5)
    first_log = backend.log_file
    psutil.Process(backend.pid).kill()
    failed = wait_until(
        lambda: backend.poll() if backend.poll().phase is BackendPhase.FAILED else None, "the failure"
    )
    assert "stopped" in failed.error
    with pytest.raises(BackendError, match="cannot be reached"):
        client.health()
    backend.start()
    assert settled(backend).phase is BackendPhase.RUNNING
    assert first_log.is_file()
    assert backend.log_file != first_log


def test_an_error_quotes_the_log_of_its_own_blender_and_old_logs_do_not_pile_up(tmp_path: Path) -> None:
    folder = tmp_path / "backend"
    said: dict[Path, str] = {}
    for number in range(8):
        python = tmp_path / f"python{number}"
        python.write_text(f"#!/bin/sh\nsleep 0.2; echo 'error of {number}'; exit 2\n")
        python.chmod(0o755)
    first, second = (BackendProcess(tmp_path / f"python{number}", folder) for number in (0, 1))
    first.start()
    second.start()
    assert "error of 0" in settled(first).error
    assert "error of 1" in settled(second).error
    for number in range(2, 8):
        backend = BackendProcess(tmp_path / f"python{number}", folder)
        backend.start()
        said[backend.log_file] = settled(backend).error
    assert all(str(path) in error for path, error in said.items())
    kept = sorted(folder.glob("*.log"))
    assert kept == sorted(list(said)[-5:])


@pytest.mark.parametrize(
    ("script", "words", "code"),
    [
        (
            "echo first; echo 'flextraj: The port is taken.' >&2; exit 2",
            "The port is taken",
            ErrorCode.BACKEND,
        ),
        (
            'echo "No module named flextraj_backend"; exit 1',
            "No module named flextraj_backend",
            ErrorCode.BACKEND,
        ),
        ("exit 3", "exit code 3", ErrorCode.BACKEND),
        (
            "echo 'loading weights'; sleep 30",
            "did not start within 0.3 s: loading weights",
            ErrorCode.BACKEND,
        ),
        ('echo nonsense > "$7"; sleep 30', "cannot be read", ErrorCode.BACKEND),
        (
            'echo \'{"port": 1, "pid": 1, "version": "9.9", "protocol": 99}\' > "$7"; sleep 30',
            "9.9 speaks protocol 99",
            ErrorCode.BACKEND_VERSION,
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_start_that_goes_wrong_ends_with_the_reason(
    make_backend: Callable[..., BackendProcess], tmp_path: Path, script: str, words: str, code: ErrorCode
) -> None:
    backend = make_backend(fake_python(tmp_path, script), start_timeout=0.3 if "weights" in script else 30.0)
    backend.start()
    process = psutil.Process(backend.pid) if backend.pid else None
    state = settled(backend)
    assert state.phase is BackendPhase.FAILED
    assert words in state.error
    assert state.code is code
    assert state.error.endswith(".")
    with pytest.raises(BackendError):
        backend.client()
    wait_until(lambda: backend.poll() and backend.pid is None, "the end of the process")
    assert process is None or not process.is_running()
    assert backend.poll() == state


def test_a_python_that_is_not_there_is_a_failure_and_not_an_exception(
    make_backend: Callable[..., BackendProcess], tmp_path: Path
) -> None:
    state = make_backend(tmp_path / "gone" / "python").start()
    assert state.phase is BackendPhase.FAILED
    assert state.code is ErrorCode.BACKEND_MISSING
    assert "preferences" in state.error


def test_a_blender_that_crashes_leaves_no_backend_behind(tmp_path: Path) -> None:
    script = f"""
        import os, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(REPOSITORY)!r})
        from blender_addon.client.backend_process import BackendPhase, BackendProcess
        backend = BackendProcess(
            Path(sys.executable), Path({str(tmp_path)!r}), Path({str(tmp_path / "data")!r}), 30.0,
            {backend_environment()!r},
        )
        backend.start()
        while backend.poll().phase is BackendPhase.STARTING:
            time.sleep(0.02)
        print(backend.poll().phase, backend.pid, flush=True)
        os.abort()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    phase, pid = run.stdout.split()
    assert phase == "running", run.stderr
    wait_until(lambda: not psutil.pid_exists(int(pid)), "the end of the backend")


@contextmanager
def http_answers(answer: bytes, status: int = 200, delay: float = 0.0) -> Iterator[str]:
    """A server on this machine that gives every call the same answer."""
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(delay)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "status", "words", "code"),
    [
        (
            b'{"protocol": 99, "version": "9", "uptime_seconds": 1}',
            200,
            "protocol 99",
            ErrorCode.BACKEND_VERSION,
        ),
        (b"<html>a router</html>", 200, "another program", ErrorCode.BACKEND),
        (b"[1, 2]", 200, "not a JSON object", ErrorCode.BACKEND_VERSION),
        (b"<html>not found</html>", 404, "HTTP 404", ErrorCode.BACKEND),
        (b'{"error": {"code": "disk", "message": "Full."}}', 507, "Full.", ErrorCode.DISK),
        (b'{"error": {"code": "new", "message": "Full."}}', 507, "Full.", ErrorCode.BACKEND),
    ],
)
def test_whatever_answers_on_the_port_the_user_gets_one_sentence(
    answer: bytes, status: int, words: str, code: ErrorCode
) -> None:
    with http_answers(answer, status) as url, pytest.raises(FlexTrajError, match=words) as caught:
        BackendClient(url, TOKEN, timeout=5).health()
    assert caught.value.code is code
    assert "\n" not in caught.value.message


def test_a_backend_that_hangs_is_given_up_after_the_time_limit() -> None:
    with http_answers(b"{}", delay=20) as url, pytest.raises(BackendError, match=r"within 0\.2 s"):
        BackendClient(url, TOKEN, timeout=0.2).health()


def test_a_backend_that_is_gone_is_told_from_one_that_refuses() -> None:
    with http_answers(b"") as url:
        pass
    with pytest.raises(BackendError, match="cannot be reached") as caught:
        BackendClient(url, TOKEN).jobs()
    assert caught.value.status == 0


def test_a_download_that_breaks_off_leaves_no_half_video(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")

        thread = threading.Thread(target=answer)
        thread.start()
        client = BackendClient(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout=5)
        with pytest.raises(BackendError, match="before the answer was complete"):
            client.download("job", ResultKind.VIDEO, tmp_path / "video.mp4")
        thread.join()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "https://127.0.0.1:80", "http://:80", "http://host:port", "http://h"]
)
def test_an_address_that_is_none_is_refused_when_it_is_entered(url: str) -> None:
    with pytest.raises(BackendError, match="must look like"):
        BackendClient(url, TOKEN)


def test_a_token_with_a_line_break_cannot_smuggle_headers() -> None:
    with pytest.raises(BackendError, match="token"):
        BackendClient("http://127.0.0.1:1", "abc\r\nX-Evil: 1")


def test_system_proxies_never_see_what_is_sent_to_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"protocol": PROTOCOL_VERSION, "version": "1", "uptime_seconds": 1})
    with http_answers(answer.encode()) as url:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert BackendClient(url, TOKEN).health().version == "1"


class TestFindingTheBackend:
    @pytest.fixture(autouse=True)
    def own_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(backend_location.CONFIG_VARIABLE, str(tmp_path / "config"))
        monkeypatch.delenv(backend_location.PYTHON_VARIABLE, raising=False)

    def test_without_a_backend_the_sentence_has_the_command_that_installs_it(self) -> None:
        with pytest.raises(FlexTrajError, match=r"python3 scripts/bootstrap\.py demo") as caught:
            backend_location.find_backend_python()
        assert caught.value.code is ErrorCode.BACKEND_MISSING

    def test_the_installer_tells_the_add_on_where_the_backend_is(self, tmp_path: Path) -> None:
        link = tmp_path / "venv" / "bin" / "python"
        link.parent.mkdir(parents=True)
        link.symlink_to(sys.executable)
        pointer = backend_location.write_backend_pointer(link)
        assert json.loads(pointer.read_text()) == {"python": str(link)}
        assert backend_location.find_backend_python() == link
        assert [path.name for path in pointer.parent.iterdir()] == ["backend.json"]

    def test_the_users_choice_wins_over_environment_and_installer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [tmp_path / name for name in ("chosen", "environment", "installed")]
        for path in paths:
            path.touch()
        backend_location.write_backend_pointer(paths[2])
        assert backend_location.find_backend_python() == paths[2]
        monkeypatch.setenv(backend_location.PYTHON_VARIABLE, str(paths[1]))
        assert backend_location.find_backend_python() == paths[1]
        assert backend_location.find_backend_python(f" {paths[0]} ") == paths[0]

    def test_a_backend_that_was_deleted_is_named(self, tmp_path: Path) -> None:
        backend_location.write_backend_pointer(tmp_path / "deleted")
        with pytest.raises(FlexTrajError, match="deleted"):
            backend_location.find_backend_python()
        with pytest.raises(FlexTrajError, match="preferences"):
            backend_location.find_backend_python(str(tmp_path / "typo"))

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"python": 3}', "\x00"])
    def test_a_damaged_pointer_is_a_sentence(self, text: str) -> None:
        pointer = backend_location.backend_pointer()
        pointer.parent.mkdir(parents=True)
        pointer.write_text(text)
        with pytest.raises(FlexTrajError, match="does not say where"):
            backend_location.find_backend_python()


def test_the_client_imports_in_a_python_without_blender() -> None:
    code = """
        import sys
        sys.modules["bpy"] = None
        from pathlib import Path
        import importlib, blender_addon.client as client
        for path in Path(client.__path__[0]).glob("*.py"):
            importlib.import_module(f"blender_addon.client.{path.stem}")
        foreign = {"torch", "fastapi", "uvicorn", "httpx", "requests", "psutil"} & set(sys.modules)
        assert not foreign, foreign
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
