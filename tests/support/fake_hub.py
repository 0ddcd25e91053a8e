"""A model hub on this machine, as far as downloading a repository's files goes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """What it serves and what was asked for.

    Attributes:
        url: for HF_ENDPOINT.
        repositories: folders by repository name.
        downloads: paths of the files that were downloaded, with the repository's name.
        claimed_bytes: size that every file claims to have, None for its own.
    """

    url: str
    repositories: Mapping[str, Path]
    downloads: list[str] = field(default_factory=list)
    claimed_bytes: int | None = None


@contextmanager
def fake_hub(repositories: Mapping[str, Path]) -> Iterator[FakeHub]:
    """Serve repositories on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = FakeHub(f"http://127.0.0.1:{server.server_port}", repositories)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> FakeHub:
        return self.server.hub  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            self._answer_about(path.removeprefix("/api/models/"))
        else:
            self._answer_file(with_body=True)

    def do_HEAD(self) -> None:
        self._answer_file(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Tests stay quiet."""

    def _answer_about(self, path: str) -> None:
        name = "/".join(path.split("/")[:2])
        folder = self.hub.repositories.get(name)
        if folder is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if "/tree/" in path:
            listing = [
                {
                    "type": "file",
                    "path": file.relative_to(folder).as_posix(),
                    "size": self.hub.claimed_bytes or file.stat().st_size,
                    "oid": _digest(file),
                }
                for file in files
            ]
            self._send(200, json.dumps(listing).encode())
            return
        siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
        self._send(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())

    def _answer_file(self, with_body: bool) -> None:
        name, _, file = self.path.lstrip("/").partition(f"/resolve/{COMMIT}/")
        path = self.hub.repositories.get(name, Path("/nowhere")) / file
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = path.read_bytes()
        headers = {"ETag": f'"{_digest(path)}"', "X-Repo-Commit": COMMIT}
        if self.hub.claimed_bytes:
            headers["X-Linked-Size"] = str(self.hub.claimed_bytes)
        if with_body:
            self.hub.downloads.append(f"{name}/{file}")
        self._send(200, data, headers, with_body)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
