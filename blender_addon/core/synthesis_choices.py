"""What synthetic clips can show: names that the panel and `flextraj synthesize` share."""

from __future__ import annotations

from enum import StrEnum


class Renderer(StrEnum):
    """What draws the clips."""

    RASTER = "raster"
    CYCLES = "cycles"


class ActionName(StrEnum):
    """Motions of the characters, as `--actions` names them."""

    WALK = "walk"
    WAVE = "wave"
    SQUAT = "squat"
    DANCE = "dance"
    TURN = "turn"
    JUMP = "jump"
    REACH = "reach"
    KICK = "kick"
    BOW = "bow"
    LEAN = "lean"
    CLAP = "clap"
    JUMPING_JACK = "jumping_jack"
    HOP = "hop"
    LOOK_AROUND = "look_around"
    WAG = "wag"
    SLIDE = "slide"
    SPIN = "spin"
    ORBIT = "orbit"
    BOUNCE = "bounce"
    TUMBLE = "tumble"
    SCALE = "scale"


class CameraMove(StrEnum):
    """Moves of the camera, as `--cameras` names them."""

    STATIC = "static"
    ORBIT = "orbit"
    DOLLY = "dolly"
    SHAKE = "shake"
