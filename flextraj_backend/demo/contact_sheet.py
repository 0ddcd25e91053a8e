"""Contact sheets: labelled rows of pictures on one page, to judge a result at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

MARGIN, GAP = 24, 8
TITLE_SIZE, LABEL_SIZE, CAPTION_SIZE = 30, 20, 15
PAPER, INK, FAINT = (250, 250, 248), (25, 25, 28), (105, 105, 112)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """Pictures side by side.

    Attributes:
        label: what they show, above the row.
        pictures: (H, W, 3) uint8 RGB each, all of one aspect ratio.
        captions: one line under each picture, or none.
    """

    label: str
    pictures: Sequence[Picture]
    captions: Sequence[str] = field(default=())


def build_sheet(title: str, subtitle: str, rows: Sequence[SheetRow], width: int = 2100) -> Picture:
    """Lay out rows of pictures, each row as wide as the page.

    Args:
        title: headline.
        subtitle: one line below it; the place for what must not be overlooked.
        rows: from top to bottom.
        width: of the page in pixels.

    Returns:
        (H, width, 3) uint8 RGB.
    """
    bands = [_row_band(row, width) for row in rows]
    head = Image.new("RGB", (width, MARGIN + TITLE_SIZE + LABEL_SIZE + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(head)
    _write(draw, (MARGIN, MARGIN), title, TITLE_SIZE, INK, width - 2 * MARGIN)
    _write(draw, (MARGIN, MARGIN + TITLE_SIZE + GAP), subtitle, LABEL_SIZE, FAINT, width - 2 * MARGIN)
    page = Image.new("RGB", (width, head.height + sum(band.height for band in bands) + MARGIN), PAPER)
    top = 0
    for band in (head, *bands):
        page.paste(band, (0, top))
        top += band.height
    return np.asarray(page)


def _row_band(row: SheetRow, width: int) -> Image.Image:
    count = len(row.pictures)
    cell_width = (width - 2 * MARGIN - (count - 1) * GAP) // count
    height, original_width = row.pictures[0].shape[:2]
    cell_height = round(cell_width * height / original_width)
    picture_top = MARGIN + LABEL_SIZE + GAP
    caption_height = CAPTION_SIZE + GAP if row.captions else 0
    band = Image.new("RGB", (width, picture_top + cell_height + caption_height), PAPER)
    draw = ImageDraw.Draw(band)
    _write(draw, (MARGIN, MARGIN - 4), row.label, LABEL_SIZE, INK, width - 2 * MARGIN)
    for column, picture in enumerate(row.pictures):
        left = MARGIN + column * (cell_width + GAP)
        cell = Image.fromarray(picture).resize((cell_width, cell_height), Image.Resampling.LANCZOS)
        band.paste(cell, (left, picture_top))
        if row.captions:
            top = picture_top + cell_height + 4
            _write(draw, (left, top), row.captions[column], CAPTION_SIZE, FAINT, cell_width)
    return band


def _write(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    size: int,
    color: tuple[int, int, int],
    room: int,
) -> None:
    """Write one line; a line that is too long for `room` pixels is set smaller."""
    while size > 8 and draw.textlength(text, ImageFont.load_default(size)) > room:
        size -= 1
    draw.text(position, text, color, ImageFont.load_default(size))


def draw_tracks(
    picture: Picture,
    positions: NDArray[np.floating],
    visible: NDArray[np.bool_],
    frame: int,
    trail: int = 8,
    dim: float = 0.45,
) -> Picture:
    """Draw the visible points of a frame with the paths they came along over a darkened picture.

    A point keeps its colour, given by where it is on the first frame, so that the eye can follow it.

    Args:
        picture: (H, W, 3) uint8 RGB.
        positions: (T, N, 2) pixels.
        visible: (T, N) bool.
        frame: which frame to draw.
        trail: length of the paths in frames.
        dim: brightness left of the picture.
    """
    oversampling = 2
    height, width = picture.shape[:2]
    canvas = Image.fromarray((picture * dim).astype(np.uint8)).resize(
        (width * oversampling, height * oversampling), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(canvas)
    colors = _colors_by_place(positions[0])
    first = max(0, frame - trail)
    for point in np.flatnonzero(visible[frame]):
        path = positions[first : frame + 1, point, :2] * oversampling
        faint, bright = tuple(colors[point] // 2), tuple(colors[point])
        if len(path) > 1:
            draw.line([tuple(step) for step in path.tolist()], fill=faint, width=oversampling)
        x, y = path[-1].tolist()
        radius = 1.6 * oversampling
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=bright)
    return np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS))


def _colors_by_place(start: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Hue from left to right, saturation from top to bottom: (N, 3) uint8."""
    low, high = np.percentile(start, (2, 98), axis=0)[:, :2]
    place = np.clip((start[:, :2] - low) / np.maximum(high - low, 1e-6), 0.0, 1.0)
    hue, saturation = 0.85 * place[:, 0], 0.55 + 0.45 * place[:, 1]
    wheel = np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (255 * (1 - saturation[:, None] * (1 - wheel))).astype(np.uint8)
