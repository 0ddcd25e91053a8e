"""Who may talk to the server and what it accepts: what an attacker or a broken client could do otherwise."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from typing import Any

import psutil
import pytest
import tiny_shot
from server_harness import PATIENCE, TOKEN, Server

from blender_addon.client.http_client import BackendClient, BackendError
from blender_addon.core.errors import ErrorCode

BEARER = f"Bearer {TOKEN}"


def call(
    server: Server, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """One raw request; the answer must be JSON unless it is empty."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Authorization": BEARER, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


def sentence(answer: Any) -> str:
    message = answer["error"]["message"]
    ErrorCode(answer["error"]["code"])
    assert message.endswith(".") and "\n" not in message
    return message


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}x", f"Basic {TOKEN}"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/health"), ("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("PUT", f"/v1/assets/{'0' * 64}")],
)
def test_another_user_of_the_machine_gets_nothing_without_the_token(
    server: Server, method: str, path: str, authorization: str
) -> None:
    status, answer = call(server, method, path, headers={"Authorization": authorization})
    assert status == 401
    assert "token" in sentence(answer)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "192.168.1.5",
        "",
    ],
)
def test_a_web_page_cannot_reach_the_server_by_rebinding_its_own_name(server: Server, host: str) -> None:
    status, answer = call(server, "GET", "/v1/health", headers={"Host": host})
    assert status == 403
    assert "Host" in sentence(answer)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://evil.example",
        "file://",
        "http://127.0.0.1.evil.example",
        "http://localhost:3000",
        "http://127.0.0.1",
    ],
)
def test_a_web_page_of_another_site_may_not_call(server: Server, origin: str) -> None:
    status, answer = call(server, "GET", "/v1/health", headers={"Origin": origin})
    assert status == 403
    assert "origin" in sentence(answer)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "LOCALHOST:8000", "[::1]:99"])
def test_the_user_may_call_by_any_name_of_this_machine_and_through_a_tunnel(
    server: Server, host: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert call(server, "GET", "/v1/health", headers=headers)[0] == 200


def test_an_upload_travels_once(server: Server) -> None:
    data = b"a photo" * 100
    assert call(server, "HEAD", f"/v1/assets/{name_of(data)}")[0] == 404
    assert server.client.upload(data) == name_of(data)
    assert call(server, "HEAD", f"/v1/assets/{name_of(data)}")[0] == 200
    stored = server.data_dir / "assets" / name_of(data)[:2] / name_of(data)
    written = stored.stat().st_ino
    server.client.upload(data)
    assert stored.stat().st_ino == written


def test_bytes_that_do_not_have_the_hash_of_their_name_are_not_kept(server: Server) -> None:
    name = name_of(b"the truth")
    status, answer = call(server, "PUT", f"/v1/assets/{name}", b"a lie")
    assert status == 400
    assert "another SHA-256" in sentence(answer)
    assert call(server, "HEAD", f"/v1/assets/{name}")[0] == 404
    assert not list((server.data_dir / "assets").glob(".upload-*"))


def test_an_upload_that_announces_too_much_is_refused_before_it_is_sent(server: Server) -> None:
    headers = {"Content-Length": str(1 << 40)}
    status, answer = call(server, "PUT", f"/v1/assets/{'1' * 64}", headers=headers)
    assert status == 413
    assert "larger than the backend's limit of 1 MiB" in sentence(answer)


def test_an_upload_that_hides_its_size_is_cut_off_at_the_limit(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        head = f"PUT /v1/assets/{'2' * 64} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        try:
            for _ in range(64):
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert not list((server.data_dir / "assets").glob(".upload-*"))


def test_the_client_tells_why_a_large_upload_was_refused(server: Server) -> None:
    with pytest.raises(BackendError, match="larger than the backend's limit"):
        server.client.upload(bytes(8 << 20))


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        head = f"PUT /v1/assets/{'3' * 64} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 100000\r\n\r\nonly this")
    assert server.client.health()
    assert call(server, "HEAD", f"/v1/assets/{'3' * 64}")[0] == 404
    assert not [path for path in (server.data_dir / "assets").glob("**/*") if path.name.startswith("3333")]


@pytest.mark.parametrize(
    "name",
    [
        "../jobs.sqlite",
        "..%2f..%2fjobs.sqlite",
        "%2e%2e/jobs.sqlite",
        "..",
        "%2fetc%2fpasswd",
        "A" * 64,
        "a" * 63,
        "a" * 65,
        "%00" * 64,
    ],
)
@pytest.mark.parametrize("method", ["PUT", "HEAD"])
def test_an_asset_name_cannot_leave_the_asset_folder(server: Server, name: str, method: str) -> None:
    before = sorted(server.folder.rglob("*"))
    status, _ = call(server, method, f"/v1/assets/{name}", b"" if method == "PUT" else None)
    assert status in (400, 404, 405)
    assert sorted(server.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "job_id", ["..", "..%2f..", "%2e%2e%2fassets", "none", "x" * 500, "'; DROP TABLE jobs;--"]
)
@pytest.mark.parametrize("place", ["", "/video", "/log", "/conditions/id", "/events"])
def test_a_job_name_cannot_leave_the_jobs_folder(server: Server, job_id: str, place: str) -> None:
    status, answer = call(server, "GET", f"/v1/jobs/{job_id.replace(' ', '%20')}{place}")
    assert status == 404
    sentence(answer)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "JSON object"),
        (b"{}", "'trajectories'"),
        (json.dumps({"trajectories": "a" * 64, "image": "b" * 64, "x": 1}).encode(), "unknown setting 'x'"),
        (json.dumps({"trajectories": "a" * 64, "image": "/etc/passwd"}).encode(), "'image'"),
        (json.dumps({"trajectories": "a" * 64, "image": "b" * 64}).encode(), "not uploaded"),
        (b'{"prompt": "' + b"x" * (2 << 20) + b'"}', "longer than 1 MiB"),
    ],
)
def test_a_request_that_is_no_request_gets_one_sentence(server: Server, body: bytes, words: str) -> None:
    status, answer = call(server, "POST", "/v1/jobs", body)
    assert 400 <= status < 500
    assert words in sentence(answer)


def test_a_request_of_another_version_says_so(server: Server) -> None:
    body = json.dumps({"trajectories": "a" * 64, "image": "b" * 64, "protocol": 99}).encode()
    status, answer = call(server, "POST", "/v1/jobs", body)
    assert status == 409
    assert answer["error"]["code"] == "backend_version"
    assert "same version" in sentence(answer)


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_an_unusable_idempotency_key_is_refused(server: Server, key: str) -> None:
    status, answer = call(server, "POST", "/v1/jobs", b"{}", {"Idempotency-Key": key})
    assert status == 400
    assert "Idempotency-Key" in sentence(answer)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/docs"), ("GET", "/v2/jobs"), ("DELETE", "/v1/jobs")]
)
def test_an_unknown_call_is_answered_in_one_sentence(server: Server, method: str, path: str) -> None:
    status, answer = call(server, method, path)
    assert status in (404, 405)
    sentence(answer)


def test_the_token_is_neither_in_the_log_nor_on_the_command_line(server: Server) -> None:
    assert TOKEN not in server.log.read_text()
    assert TOKEN not in " ".join(psutil.Process(server.process.pid).cmdline())


def test_only_this_machine_can_reach_the_server_by_default(server: Server) -> None:
    with pytest.raises(OSError):
        socket.create_connection((_address_in_the_network(), server.port), 2.0).close()


def _address_in_the_network() -> str:
    """The address that other machines see; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no network")
    return address


def test_a_client_with_a_wrong_token_says_what_is_wrong(server: Server) -> None:
    stranger = BackendClient(f"http://127.0.0.1:{server.port}", "not-the-token-at-all")
    with pytest.raises(BackendError, match="token") as caught:
        stranger.health()
    assert caught.value.status == 401
    with pytest.raises(BackendError, match="token"):
        stranger.upload(tiny_shot.trajectory_bytes())
