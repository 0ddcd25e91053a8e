"""`flextraj doctor`: what works on this machine, and the command that mends what does not."""

from __future__ import annotations

import json as json_module

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

NAME = "doctor"


def command(json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Check Python, libraries, GPU, disk, memory, engines. Exit code 1 where something needed is missing."""
    from flextraj_backend.diagnosis import Severity, diagnose

    findings = diagnose()
    if json:
        typer.echo(json_module.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        table = Table()
        for heading in ("check", "state", "finding"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            table.add_row(finding.name, finding.severity.value, escape(finding.text))
        Console().print(table)
        for finding in findings:
            if finding.fix:
                typer.echo(f"{finding.name}: {finding.fix}")
    if any(finding.severity is Severity.BROKEN for finding in findings):
        raise typer.Exit(1)
