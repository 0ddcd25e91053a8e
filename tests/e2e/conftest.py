"""Servers for the tests; none is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server_harness import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server that tests share; they must leave it running and idle."""
    running = Server(tmp_path_factory.mktemp("server"), "--max-asset-mib", "1")
    yield running
    running.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that a test may break; all use the same data folder."""
    started: list[Server] = []

    def start(*options: str, **settings: Any) -> Server:
        started.append(Server(tmp_path, *options, **settings))
        return started[-1]

    yield start
    for running in started:
        running.close()
