"""`flextraj serve`: the local server."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import typer

from blender_addon.client.backend_process import TOKEN_VARIABLE
from blender_addon.core.errors import ErrorCode, FlexTrajError

NAME = "serve"
_MIN_TOKEN = 16


def command(
    host: str = typer.Option("127.0.0.1", help="Address to listen on; others than 127.0.0.1 open it up."),
    port: int = typer.Option(0, min=0, max=65535, help="Port; 0 = the system chooses a free one."),
    ready_file: Path | None = typer.Option(None, help="Write port, pid and versions here when it answers."),
    parent_pid: int | None = typer.Option(None, help="Stop when this process is gone."),
    data_dir: Path | None = typer.Option(None, help="Folder for uploads and jobs."),
    workers: int = typer.Option(1, min=1, max=64, help="Jobs that run at the same time."),
    max_asset_mib: int = typer.Option(8192, min=1, help="Largest upload in MiB."),
    keep_days: float = typer.Option(30, min=0, help="Days after which jobs and uploads go; 0 = never."),
    keep_gib: float = typer.Option(20, min=0, help="GiB that jobs and uploads may take; 0 = without limit."),
    ray: str | None = typer.Option(
        None, metavar="ADDRESS", help="Run the jobs on this Ray cluster ('auto', host:6379, 'local')."
    ),
) -> None:
    """Serve render jobs to the add-on; the token comes from FLEXTRAJ_TOKEN, or is made and printed."""
    # Imported here: the command line's --help does not wait for the web framework.
    from flextraj_backend.server.launcher import ProcessLauncher
    from flextraj_backend.server.pruning import KeepRule
    from flextraj_backend.server.ray_launcher import RayLauncher
    from flextraj_backend.server.serve import ServerSettings, default_data_dir, serve

    settings = ServerSettings(
        token=_token(),
        data_dir=default_data_dir() if data_dir is None else data_dir.absolute(),
        host=host,
        port=port,
        ready_file=ready_file,
        parent_pid=parent_pid,
        asset_limit=max_asset_mib << 20,
        worker_count=workers,
        keep=KeepRule.from_options(keep_days, keep_gib),
    )
    serve(settings, ProcessLauncher() if ray is None else RayLauncher(ray))


def _token() -> str:
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None:
        token = secrets.token_urlsafe(32)
        typer.echo(f"Token: {token}")
        return token
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise FlexTrajError(
            f"The token in {TOKEN_VARIABLE} must have at least {_MIN_TOKEN} printable ASCII characters.",
            ErrorCode.BACKEND,
        )
    return token
