"""The client's side of a call, where the other side misbehaves."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from blender_addon.client.http_client import BackendClient, BackendError

REFUSAL = b'{"error": {"code": "request", "message": "The file is too large: use a smaller one."}}'
MIB = 1 << 20


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A server that knows no asset and refuses every upload before it has read it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                is_upload = connection.recv(65536).startswith(b"PUT")
                status = b"413 Too Large" if is_upload else b"404 Not Found"
                body = REFUSAL if is_upload else b""
                connection.sendall(
                    b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("hang_up", [BrokenPipeError, ConnectionResetError, ConnectionAbortedError])
def test_a_refused_upload_is_explained_on_every_system(
    refusing_port: int, monkeypatch: pytest.MonkeyPatch, hang_up: type[OSError]
) -> None:
    send = http.client.HTTPConnection.send

    def send_until_body(connection: http.client.HTTPConnection, data: bytes) -> None:
        if data == bytes(MIB):
            raise hang_up
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", send_until_body)
    client = BackendClient(f"http://127.0.0.1:{refusing_port}", "token", timeout=5)
    with pytest.raises(BackendError, match="The file is too large: use a smaller one"):
        client.upload(bytes(MIB))


def test_a_cancelled_upload_ends_between_two_chunks(refusing_port: int) -> None:
    asked: list[bool] = []

    def give_up() -> bool:
        asked.append(True)
        return len(asked) > 4

    client = BackendClient(f"http://127.0.0.1:{refusing_port}", "token", timeout=5)
    with pytest.raises(BackendError, match="The upload was cancelled"):
        client.upload(bytes(8 * MIB), give_up)
    assert len(asked) == 5
