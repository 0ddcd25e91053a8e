"""Make the demo's photo and subject mask from scikit-image's portrait of the astronaut Eileen Collins.

    pip install scikit-image
    python scripts/make_demo_mask.py --preview check.png

The portrait is cropped to head and shoulders in the demo's 3:2 format. The mask's outline was set by hand on
the enlarged photo, point by point; GrabCut then follows hair and cloth in a band of a few pixels around it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data  # pyright: ignore[reportMissingImports]

WIDTH, HEIGHT = 720, 480
CROP = (0, 0, 512, 341)
"""Left, upper, right, lower edge in the 512 x 512 portrait: the 3:2 part with head and shoulders."""
BAND_PX = 4
"""Half width of the band around the outline in which GrabCut decides."""

# Pixels of the 720 x 480 crop, clockwise from the lower left corner.
LEFT_SLEEVE = [
    (38, 484),
    (41, 470),
    (46, 449),
    (56, 420),
    (60, 403),
    (68, 386),
    (79, 363),
    (92, 346),
    (110, 330),
]
LEFT_COLLAR = [(133, 313), (147, 302), (158, 289), (159, 277), (158, 264), (165, 260), (172, 256), (176, 238)]
RING_LEFT = [(189, 222), (209, 212), (233, 208), (257, 209), (260, 200), (257, 186), (252, 185), (245, 178)]
HAIR_LEFT = [(241, 167), (236, 163), (225, 151), (218, 141), (216, 117), (215, 97), (221, 82), (239, 63)]
HAIR_TOP = [(264, 48), (273, 40), (290, 30), (310, 23), (327, 21), (343, 23), (364, 31), (384, 42), (403, 57)]
HAIR_RIGHT = [(416, 80), (419, 100), (424, 120), (422, 140), (415, 158), (400, 174), (389, 183), (383, 191)]
JAW_RIGHT = [(377, 193), (373, 208), (362, 234), (360, 240)]
RING_RIGHT = [(377, 252), (388, 264), (401, 277), (417, 297), (427, 320), (429, 330)]
RIGHT_SLEEVE = [
    (450, 342),
    (467, 356),
    (481, 371),
    (489, 390),
    (495, 399),
    (499, 420),
    (504, 447),
    (510, 466),
]
END = [(507, 471), (507, 484)]
OUTLINE = (
    LEFT_SLEEVE + LEFT_COLLAR + RING_LEFT + HAIR_LEFT + HAIR_TOP + HAIR_RIGHT + JAW_RIGHT + RING_RIGHT
) + (RIGHT_SLEEVE + END)


def crop_portrait() -> NDArray[np.uint8]:
    """Return the portrait's head and shoulders, (480, 720, 3) uint8 RGB."""
    portrait = Image.fromarray(data.astronaut()).crop(CROP)
    return np.asarray(portrait.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def segment_subject(photo: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the subject's mask (480, 720): the hand-set outline, refined by GrabCut within the band."""
    drawn = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(drawn, [np.array(OUTLINE, np.int32)], (1,))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1, 2 * BAND_PX + 1))
    labels = np.full(drawn.shape, cv2.GC_BGD, np.uint8)
    labels[cv2.dilate(drawn, disc) > 0] = cv2.GC_PR_BGD
    labels[drawn > 0] = cv2.GC_PR_FGD
    # Without replication the frame's edge would count as an outline and eat into the torso it cuts.
    labels[cv2.erode(drawn, disc, borderType=cv2.BORDER_REPLICATE) > 0] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(
        cv2.cvtColor(photo, cv2.COLOR_RGB2BGR),
        labels,
        (0, 0, 0, 0),
        background,
        foreground,
        4,
        cv2.GC_INIT_WITH_MASK,
    )
    subject = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # Single pixels on either side of the outline go; the median keeps corners better than opening does.
    subject = cv2.medianBlur(subject, 5)
    _, components, stats, _ = cv2.connectedComponentsWithStats(subject)
    return components == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def draw_check(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the photo at double size, background in magenta, the mask's edge drawn: to look at."""
    large = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    inside = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    large[inside == 0] = (large[inside == 0] * 0.35 + np.array([255, 0, 255]) * 0.65).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(large, contours, -1, (0, 255, 255), 1)
    return np.asarray(large, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path(__file__).resolve().parent.parent / "flextraj_backend" / "demo"
    parser.add_argument("--folder", type=Path, default=folder, help="where photo.jpg and photo_mask.png go")
    parser.add_argument("--preview", type=Path, help="also write a picture to check the mask by eye")
    options = parser.parse_args()
    photo = crop_portrait()
    mask = segment_subject(photo)
    Image.fromarray(photo).save(options.folder / "photo.jpg", quality=95, subsampling=0, optimize=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(options.folder / "photo_mask.png", optimize=True)
    if options.preview is not None:
        Image.fromarray(draw_check(photo, mask)).save(options.preview)


if __name__ == "__main__":
    main()
