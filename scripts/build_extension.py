"""Build and validate `dist/flextraj-<version>.zip`, the extension, with Blender's own builder.

Blender's builder wants manifest and `__init__.py` side by side; the repository keeps the manifest at its top.
So the add-on, the manifest and the licence are staged in `build/stage` first. The builder is taken from the
`bpy` package (no Blender needed) or from the Blender given by `--blender`.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = "blender_manifest.toml"
_NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")


class BuildError(Exception):
    """The extension cannot be built; the message is one sentence for the developer."""


@dataclass(frozen=True)
class Builder:
    """A command that understands `build` and `validate`, and the options that make it check the tags."""

    command: tuple[str, ...]
    tag_options: tuple[str, ...]


def builder_of_bpy() -> Builder:
    """Return the builder inside the installed `bpy` package. Raises BuildError where there is none."""
    spec = importlib.util.find_spec("bpy")
    package = None if spec is None or spec.origin is None else Path(spec.origin).parent
    scripts = sorted(package.glob("*/scripts")) if package is not None else []
    for folder in scripts:
        program = folder / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
        tags = folder / "modules" / "_bpy_internal" / "extensions" / "tags.py"
        if program.is_file() and tags.is_file():
            return Builder((sys.executable, str(program)), ("--valid-tags", str(tags)))
    raise BuildError(
        "No extension builder was found: run this with a Python that has the 'bpy' package "
        "(python3 scripts/bootstrap.py installs one) or give a Blender with --blender PATH."
    )


def builder_of_blender(command: str) -> Builder:
    """Return the builder of an installed Blender, which knows its own tags. Raises BuildError."""
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise BuildError(
            f"There is no program {command!r}: give the path of Blender's executable to --blender."
        )
    return Builder((*words, "--factory-startup", "--command", "extension"), ())


def stage(folder: Path) -> Path:
    """Copy what the extension ships to `folder` (made anew) and return it."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(REPOSITORY / "blender_addon", folder, ignore=_NOT_SHIPPED)
    for name in (MANIFEST, "LICENSE"):
        shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def archive_name(stage_folder: Path) -> str:
    """Return the zip's file name, `<id>-<version>.zip`, from the staged manifest."""
    manifest = tomllib.loads((stage_folder / MANIFEST).read_text(encoding="utf-8"))
    return f"{manifest['id']}-{manifest['version']}.zip"


def _run(builder: Builder, subcommand: str, *arguments: str) -> None:
    command = [*builder.command, subcommand, *builder.tag_options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.strip())
        raise BuildError(f"Blender's extension tool refused to {subcommand}:\n{said}")


def build(builder: Builder, stage_folder: Path, output_folder: Path) -> Path:
    """Stage, validate, build, validate the zip; return its path. Raises BuildError."""
    stage(stage_folder)
    output_folder.mkdir(parents=True, exist_ok=True)
    archive = output_folder / archive_name(stage_folder)
    archive.unlink(missing_ok=True)
    _run(builder, "validate", str(stage_folder))
    _run(builder, "build", "--source-dir", str(stage_folder), "--output-dir", str(output_folder))
    if not archive.is_file():
        raise BuildError(
            f"The builder reported success but wrote no {archive}: check the manifest's id and version."
        )
    _run(builder, "validate", str(archive))
    return archive


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns the exit code: 0, or 2 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description="Build and validate the FlexTraj extension for Blender.")
    parser.add_argument(
        "--blender", metavar="COMMAND", help="use this Blender's builder instead of the bpy package's"
    )
    parser.add_argument("--output-dir", type=Path, default=REPOSITORY / "dist", help="default: dist/")
    options = parser.parse_args(arguments)
    try:
        builder = builder_of_blender(options.blender) if options.blender else builder_of_bpy()
        archive = build(builder, REPOSITORY / "build" / "stage", options.output_dir.resolve())
    except BuildError as error:
        print(f"build_extension: {error}", file=sys.stderr)
        return 2
    print(archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
