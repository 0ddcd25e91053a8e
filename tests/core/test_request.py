"""The render request: what a user would lose if it accepted nonsense or changed on its way."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.request import MAX_PINS, MAX_PROMPT, FitMode, FitPin, RenderRequest
from blender_addon.core.trajectories import MAX_FRAMES
from blender_addon.core.version import PROTOCOL_VERSION

HASH = "0123456789abcdef" * 4
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
fractions = st.floats(0, 1, exclude_min=True)
coefficients = st.floats(-1e6, 1e6)


pins = st.lists(
    st.builds(FitPin, st.integers(0, 65_535), st.integers(0, 65_535), coefficients, coefficients),
    max_size=3,
    unique_by=lambda pin: (pin.segment, pin.point),
)


@st.composite
def requests(draw: st.DrawFn) -> RenderRequest:
    fit = draw(st.sampled_from(FitMode))
    matrix = None
    if fit is FitMode.GIVEN:
        scale = draw(st.floats(0.01, 100))
        matrix = (scale, 0.0, draw(coefficients), 0.0, scale, draw(coefficients))
    indices = st.sets(st.integers(0, MAX_FRAMES - 1), min_size=1, max_size=9)
    kept = draw(st.none() | indices.map(lambda frames: tuple(sorted(frames))))
    cue = draw(st.booleans())
    return RenderRequest(
        trajectories=draw(hashes),
        image=draw(hashes),
        mask=draw(st.none() | hashes),
        engine=draw(st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)),
        prompt=draw(st.text(max_size=40)),
        negative_prompt=draw(st.text(max_size=40)),
        seed=draw(st.integers(0, 2**63 - 1)),
        steps=draw(st.none() | st.integers(1, 1000)),
        guidance_scale=draw(st.none() | st.floats(0, 100)),
        fit=fit,
        fit_matrix=matrix,
        mirror=draw(st.booleans()),
        pins=tuple(draw(pins)),
        keep_points=draw(fractions),
        keep_frames=1.0 if kept is not None else draw(fractions),
        kept_frames=kept,
        surface=draw(st.booleans()),
        color_cue=cue,
        photo_colors=cue and draw(st.booleans()),
        title=draw(st.text(max_size=40)),
    )


@given(requests())
def test_a_request_arrives_as_it_was_sent(request: RenderRequest) -> None:
    assert RenderRequest.from_json(request.to_json()) == request
    assert RenderRequest.from_json(request.to_json().encode()) == request


@given(requests())
def test_the_same_request_is_the_same_text_so_that_a_retry_is_recognised(request: RenderRequest) -> None:
    assert RenderRequest.from_json(request.to_json()).to_json() == request.to_json()
    assert list(json.loads(request.to_json())) == sorted(asdict(request))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(asdict(RenderRequest(HASH, HASH)))), json_values)
def test_any_value_in_any_setting_is_taken_or_refused_in_one_sentence(name: str, value: Any) -> None:
    values = {"trajectories": HASH, "image": HASH, name: value}
    try:
        request = RenderRequest.from_dict(values)
    except RequestError as error:
        assert error.message.endswith(".")
        assert "\n" not in error.message
    else:
        json.loads(request.to_json())


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_text_that_is_no_request_is_refused_in_one_sentence(text: bytes | str) -> None:
    with pytest.raises(RequestError):
        RenderRequest.from_json(text)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("trajectories", HASH[:-1]),
        ("trajectories", "../" + HASH[3:]),
        ("image", HASH.upper()),
        ("mask", ""),
        ("engine", "Preview"),
        ("engine", "../preview"),
        ("prompt", "x" * (MAX_PROMPT + 1)),
        ("title", 7),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.0),
        ("seed", True),
        ("steps", 0),
        ("steps", 1001),
        ("guidance_scale", float("nan")),
        ("guidance_scale", -0.1),
        ("keep_points", 0.0),
        ("keep_points", 1.01),
        ("keep_frames", float("nan")),
        ("keep_frames", True),
        ("surface", 1),
        ("color_cue", "yes"),
        ("photo_colors", 1),
        ("fit", "guess"),
    ],
)
def test_a_setting_out_of_range_is_named_before_anything_runs(setting: str, value: Any) -> None:
    with pytest.raises(RequestError, match=setting):
        RenderRequest.from_dict({"trajectories": HASH, "image": HASH, setting: value})


def test_a_misspelt_or_missing_setting_is_named_instead_of_ignored() -> None:
    with pytest.raises(RequestError, match="'sed'"):
        RenderRequest.from_dict({"trajectories": HASH, "image": HASH, "sed": 3})
    with pytest.raises(RequestError, match="'image'"):
        RenderRequest.from_dict({"trajectories": HASH})
    with pytest.raises(RequestError, match="JSON object"):
        RenderRequest.from_dict([HASH])


@pytest.mark.parametrize("matrix", [None, (1, 0, 0, 0, 1), (1, 0, 0, 0, float("inf"), 0), (1, 2, 0, 2, 4, 0)])
def test_a_given_fit_without_a_usable_matrix_is_refused(matrix: tuple[float, ...] | None) -> None:
    with pytest.raises(RequestError, match="matrix"):
        RenderRequest.from_dict({"trajectories": HASH, "image": HASH, "fit": "given", "fit_matrix": matrix})


def test_photo_colors_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(RequestError, match="'color_cue'"):
        RenderRequest(HASH, HASH, photo_colors=True)


def test_a_matrix_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(RequestError, match="with fit 'given'"):
        RenderRequest(HASH, HASH, fit_matrix=(1, 0, 0, 0, 1, 0))


def test_another_protocol_says_that_both_sides_must_be_updated() -> None:
    request = RenderRequest(HASH, HASH)
    with pytest.raises(RequestError, match="same version") as caught:
        replace(request, protocol=PROTOCOL_VERSION + 1)
    assert caught.value.code is ErrorCode.BACKEND_VERSION


def test_json_of_absurd_depth_is_a_sentence_and_not_a_crash() -> None:
    with pytest.raises(RequestError):
        RenderRequest.from_json("[" * 200_000)


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 10**400}, {"title": "\ud800"}, {"prompt": "\udfff"}, {"keep_points": 10**400}],
)
def test_values_that_json_can_carry_but_nothing_can_store_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=next(iter(change))):
        RenderRequest.from_dict({"trajectories": "0" * 64, "image": "1" * 64, **change})


@pytest.mark.parametrize(
    "pin",
    [
        {"segment": -1, "point": 0, "x": 0.0, "y": 0.0},
        {"segment": 0, "point": 70_000, "x": 0.0, "y": 0.0},
        {"segment": 0, "point": 1.5, "x": 0.0, "y": 0.0},
        {"segment": 0, "point": 0, "x": float("nan"), "y": 0.0},
        {"segment": 0, "point": 0, "x": 1e7, "y": 0.0},
        {"segment": 0, "point": 0, "x": 0.0},
        {"segment": 0, "point": 0, "x": 0.0, "y": 0.0, "z": 0.0},
        "pin",
    ],
)
def test_a_pin_that_holds_nothing_is_refused(pin: Any) -> None:
    with pytest.raises(RequestError):
        RenderRequest.from_dict({"trajectories": HASH, "image": HASH, "pins": [pin]})


def test_a_point_has_one_place_and_pins_have_a_limit() -> None:
    with pytest.raises(RequestError, match="same point"):
        RenderRequest(HASH, HASH, pins=(FitPin(0, 1, 2.0, 3.0), FitPin(0, 1, 4.0, 5.0)))
    many = tuple(FitPin(0, point, 0.0, 0.0) for point in range(MAX_PINS + 1))
    with pytest.raises(RequestError, match="remove some"):
        RenderRequest(HASH, HASH, pins=many)


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [
        ((), "at least one"),
        ((3, 3), "each of them once"),
        ((3, 1), "in ascending order"),
        ((-1, 4), "whole numbers from 0"),
        ((0, MAX_FRAMES), "whole numbers from 0"),
        ((0, 1.5), "whole numbers from 0"),
        ((0, True), "whole numbers from 0"),
        ([0, 1], "must be a list"),
    ],
)
def test_kept_frames_that_are_none_are_refused_in_one_sentence(kept: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        RenderRequest(HASH, HASH, kept_frames=kept)


def test_frames_are_kept_one_by_one_or_as_a_share_but_not_both() -> None:
    assert RenderRequest(HASH, HASH, kept_frames=(0, 12, 48)).kept_frames == (0, 12, 48)
    with pytest.raises(RequestError, match="drop 'kept_frames' or 'keep_frames'"):
        RenderRequest(HASH, HASH, kept_frames=(0,), keep_frames=0.5)
