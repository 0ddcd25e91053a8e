"""Where a person stands in a photo, without weights: OpenCV's own face cascade, then its pedestrian detector.

Both come with OpenCV. What is found becomes a seed for GrabCut in the proportions of a body (Drillis and
Contini: about seven and a half heads high, shoulders two heads wide), so that a photo of one person needs no
hand-painted mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FACE_CASCADE = "haarcascade_frontalface_alt2.xml"
SMALLEST_FACE = 1 / 24
"""Faces smaller than this share of the photo's longer side are noise more often than faces."""
PEDESTRIAN_CONFIDENCE = 0.5
BORDER = 1 / 4
"""The photo is continued by this share of its height, so that a forehead cut by the frame is still a face."""
HEADS_HIGH = 9.0
"""Height of a standing person in face boxes: the cascade's box is the face, a little less than the head."""
PEDESTRIAN_BODY = 0.85
"""Share of the pedestrian detector's box that the body fills."""


@dataclass(frozen=True)
class Face:
    """A face in pixels: centre and side of its square box."""

    x: float
    y: float
    size: float


def _face_cascade() -> cv2.CascadeClassifier:
    """OpenCV's own, read by Python: on Windows OpenCV opens no path with letters of other languages."""
    text = (Path(cv2.__file__).parent / "data" / FACE_CASCADE).read_text(encoding="utf-8")
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    cascade = cv2.CascadeClassifier()
    cascade.read(storage.getFirstTopLevelNode())
    return cascade


def find_face(photo: NDArray[np.uint8]) -> Face | None:
    """Return the most prominent frontal face of (H, W, 3) uint8 RGB, or None.

    Prominent: large, then near the middle of the photo.
    """
    height, width = photo.shape[:2]
    cascade = _face_cascade()
    border = round(BORDER * height)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    grey = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
    smallest = max(20, round(SMALLEST_FACE * max(height, width)))
    boxes = cascade.detectMultiScale(grey, scaleFactor=1.08, minNeighbors=5, minSize=(smallest, smallest))
    faces = [
        Face(x + side / 2 - border, y + side / 2 - border, float(side))
        for x, y, side, _ in np.asarray(boxes).tolist()
    ]
    if not faces:
        return None

    def prominence(face: Face) -> float:
        off_centre = np.hypot(face.x - width / 2, face.y - height / 2) / np.hypot(width, height)
        return face.size * (1.0 - off_centre)

    return max(faces, key=prominence)


def find_pedestrian(photo: NDArray[np.uint8]) -> Face | None:
    """Return the face that the most certain standing person of the photo would have, or None."""
    detector = cv2.HOGDescriptor()
    window_width, window_height = detector.winSize
    if photo.shape[1] < window_width or photo.shape[0] < window_height:
        # OpenCV reads out of bounds (a crash) where the photo is smaller than the detector's window.
        return None
    # The stubs know neither the getter's type nor the setter's.
    detector.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())  # pyright: ignore
    boxes, weights = detector.detectMultiScale(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), scale=1.05)
    if len(boxes) == 0:
        return None
    best = int(np.argmax(np.ravel(weights)))
    if float(np.ravel(weights)[best]) < PEDESTRIAN_CONFIDENCE:
        return None
    x, y, w, h = (float(value) for value in boxes[best])
    size = PEDESTRIAN_BODY * h / HEADS_HIGH
    top = y + (1 - PEDESTRIAN_BODY) / 2 * h
    return Face(x + w / 2, top + 0.8 * size, size)


def body_seed(face: Face, height: int, width: int) -> NDArray[np.uint8]:
    """Draw a body below a face as GrabCut labels, (H, W) uint8.

    Sure subject: face, neck and the middle of the chest. Likely: hair, shoulders, arms, legs. Possible:
    around them. All else is background.
    """
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    x, y, size = face.x, face.y, face.size

    def ellipse(dy: float, half_width: float, half_height: float, label: int) -> None:
        centre = (round(x), round(y + dy * size))
        axes = (max(1, round(half_width * size)), max(1, round(half_height * size)))
        cv2.ellipse(labels, centre, axes, 0, 0, 360, (label,), cv2.FILLED)

    def outline(profile: list[tuple[float, float]], label: int) -> None:
        """Fill a shape symmetric about the face: (distance below the face, half width) in face sizes."""
        right = [(x + half * size, y + dy * size) for dy, half in profile]
        left = [(x - half * size, y + dy * size) for dy, half in reversed(profile)]
        cv2.fillPoly(labels, [np.round(np.array(right + left)).astype(np.int32)], (label,))

    feet = HEADS_HIGH - 0.8
    outline([(-1.4, 1.1), (0.3, 1.2), (0.7, 2.0), (1.4, 2.6), (4.6, 2.6), (feet + 0.4, 1.9)], cv2.GC_PR_BGD)
    ellipse(-0.15, 0.8, 1.0, cv2.GC_PR_FGD)
    outline([(0.5, 0.5), (0.85, 0.8), (1.2, 1.4), (1.8, 1.6), (4.2, 1.5), (feet, 0.9)], cv2.GC_PR_FGD)
    ellipse(0.0, 0.42, 0.55, cv2.GC_FGD)
    outline([(0.4, 0.25), (1.0, 0.35), (1.5, 0.75), (3.2, 0.7)], cv2.GC_FGD)
    return labels
