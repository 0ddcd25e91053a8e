"""Make the README's pictures: the panel from the window check's screenshots, and a GIF of the demo.

    python scripts/gui_check.py --work check && python scripts/make_readme_images.py --shots check/shots
    python -m flextraj_backend demo -o demo && python scripts/make_readme_images.py --demo demo

The places of the crops are those of Blender 5.2 in the window check's screen of 1600 x 1000 pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "scripts" / "images"
MOST_BYTES = 250_000
MOST_GIF_BYTES = 2_000_000
_COLORS = 255
_JPEG_QUALITY = 88
_GAP = 10
_BACKDROP = (24, 24, 24)

Box = tuple[int, int, int, int]
"""Left, upper, right, lower edge in a screenshot."""


class PictureError(Exception):
    """A picture cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Piece:
    """A part of a screenshot.

    Attributes:
        shot: name of the screenshot without its ending.
        box: what is cut out.
    """

    shot: str
    box: Box


@dataclass(frozen=True)
class Picture:
    """Pieces side by side.

    Attributes:
        name: file in scripts/images.
        pieces: from left to right.
        scale: of the result.
    """

    name: str
    pieces: tuple[Piece, ...]
    scale: float


def _sidebar(shot: str, top: int, bottom: int) -> Piece:
    return Piece(shot, (1024, top, 1284, bottom))


PICTURES = (
    Picture("panel.jpg", (Piece("31_retried", (0, 24, 1600, 905)),), 0.75),
    Picture("placement.jpg", (Piece("p3_fitted", (0, 80, 1284, 905)),), 0.8),
    Picture(
        "overlay.png",
        (Piece("3a_points_and_paths", (500, 240, 820, 690)), Piece("3b_id_video", (500, 240, 820, 690))),
        1.0,
    ),
    Picture(
        "panels.png",
        (
            _sidebar("s2_list", 82, 636),
            _sidebar("s3_markers", 82, 530),
            _sidebar("s6_model", 82, 498),
            _sidebar("34_weights", 455, 850),
        ),
        1.0,
    ),
)

GIF = "demo.gif"
GIF_FRAMES = 24
_GIF_STEP = 2
"""Every second of the demo's 49 frames."""
_GIF_MS = 120
_GIF_SIZE = (360, 240)
_HOLD = 10
"""A pixel that changes by less stays as it was: compression noise would fill the file."""


def make_picture(picture: Picture, shots: Path) -> Path:
    """Cut, join and save a picture. Raises PictureError."""
    parts = [_cut(piece, shots) for piece in picture.pieces]
    width = sum(part.width for part in parts) + _GAP * (len(parts) - 1)
    sheet = Image.new("RGB", (width, max(part.height for part in parts)), _BACKDROP)
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + _GAP
    size = (round(sheet.width * picture.scale), round(sheet.height * picture.scale))
    if size != sheet.size:
        sheet = sheet.resize(size, Image.Resampling.LANCZOS)
    path = IMAGES / picture.name
    # In full colour: a palette would make the chips of different IDs the same.
    sheet.save(path, optimize=True, quality=_JPEG_QUALITY)
    return _small_enough(path, MOST_BYTES)


def make_gif(demo: Path) -> Path:
    """The demo's rig and, beside it, the photo that it moves. Raises PictureError."""
    from flextraj_backend.demo.scene import build_scene, render_stills
    from flextraj_backend.scene_import import quiet_stdout
    from flextraj_backend.video_io import read_video

    video = demo / "video.mp4"
    if not video.is_file():
        raise PictureError(f"{video} does not exist: run 'python -m flextraj_backend demo -o {demo}' first.")
    chosen = range(0, GIF_FRAMES * _GIF_STEP, _GIF_STEP)
    results, _ = read_video(video)  # (T, H, W, 3)
    with quiet_stdout():
        rig = render_stills(build_scene(), tuple(index + 1 for index in chosen))
    steady = _hold_still_pixels(np.stack([_half(results[index]) for index in chosen]))
    gap = np.full((_GIF_SIZE[1], _GAP // 2, 3), _BACKDROP, np.uint8)
    frames = [
        Image.fromarray(np.hstack([_half(left), gap, right]))
        for left, right in zip(_hold_still_pixels(rig), steady, strict=True)
    ]
    # One palette for all: a frame's own would make the still parts flicker.
    strip = Image.fromarray(np.vstack([np.asarray(frame) for frame in frames[:: GIF_FRAMES // 6]]))
    palette = strip.quantize(_COLORS, Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    path = IMAGES / GIF
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=_GIF_MS, loop=0, optimize=True)
    return _small_enough(path, MOST_GIF_BYTES)


def _cut(piece: Piece, shots: Path) -> Image.Image:
    path = shots / f"{piece.shot}.png"
    if not path.is_file():
        raise PictureError(f"{path} does not exist: run scripts/gui_check.py with all its acts first.")
    with Image.open(path) as shot:
        return shot.convert("RGB").crop(piece.box)


def _half(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize(_GIF_SIZE, Image.Resampling.LANCZOS))


def _hold_still_pixels(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W, 3) with pixels kept until they differ clearly from what is shown."""
    held = frames.copy()
    for before, now in pairwise(held):
        still = np.abs(now.astype(np.int16) - before).max(axis=-1) < _HOLD  # (H, W)
        now[still] = before[still]
    return held


def _small_enough(path: Path, most: int) -> Path:
    size = path.stat().st_size
    if size > most:
        raise PictureError(f"{path} takes {size / 1000:.0f} kB, at most {most / 1000:.0f} are wanted.")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns the exit code: 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(description="Make the README's pictures.")
    parser.add_argument("--shots", type=Path, help="folder of the window check's screenshots")
    parser.add_argument("--demo", type=Path, help="folder of the demo's results")
    options = parser.parse_args(arguments)
    if options.shots is None and options.demo is None:
        parser.error("give --shots, --demo or both")
    try:
        made = [] if options.shots is None else [make_picture(one, options.shots) for one in PICTURES]
        if options.demo is not None:
            made.append(make_gif(options.demo))
    except PictureError as error:
        print(f"make_readme_images: {error}", file=sys.stderr)
        return 2
    for path in made:
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
