"""Reading a curriculum's TOML file strictly: every mistake is one sentence that names the key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from flextraj_backend.training.curriculum import (
    Adaptive,
    Curriculum,
    CurriculumError,
    FixedSteps,
    Length,
    Share,
    Stage,
)
from flextraj_backend.training.tasks import (
    BackgroundPoints,
    ControlTask,
    CoverageRule,
    MixtureError,
    TaskMixture,
)

_MIXTURE_KEYS = frozenset(item.name for item in fields(TaskMixture))
_ENUM_TABLES: dict[str, type[StrEnum]] = {"tasks": ControlTask, "background": BackgroundPoints}
_LISTS = {"region_fractions", "frame_fractions"}
_RANGES = {"random_fraction", "scale_range", "shift_pixels", "other_scale"}
_LENGTH_KEYS = ("share", "steps", "adaptive")
_MAX_BYTES = 1 << 20


def read_curriculum(path: Path) -> Curriculum:
    """Read a curriculum from a file.

    Raises:
        CurriculumError: it cannot be read, is no TOML, or a key is missing, unknown or out of range.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CurriculumError(f"The curriculum {path} is larger than 1 MiB: give a smaller file.")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CurriculumError(f"The curriculum {path} cannot be read ({error}): mend the file.") from error
    return parse_curriculum(table, path.stem)


def parse_curriculum(table: Mapping[str, Any], name: str) -> Curriculum:
    """Build a curriculum from the content of its file.

    Raises:
        CurriculumError: see `read_curriculum`.
    """
    _known(table, {"name", "mixture", "stages"}, "the file")
    shared = _expect_table(table.get("mixture", {}), "mixture")
    _known(shared, _MIXTURE_KEYS, "'mixture'")
    stages = table.get("stages")
    if not isinstance(stages, list) or not stages:
        raise CurriculumError("The curriculum lacks 'stages': give at least one [[stages]] table.")
    return Curriculum(
        name=_text(table.get("name", name), "name"),
        stages=tuple(_stage(item, shared, number) for number, item in enumerate(stages, start=1)),
    )


def _stage(value: Any, shared: Mapping[str, Any], number: int) -> Stage:
    table = _expect_table(value, f"stages[{number}]")
    name = _text(table.get("name", _Missing(f"stages[{number}].name")), f"stages[{number}].name")
    where = f"stage '{name}'"
    _known(table, {"name", *_LENGTH_KEYS, "learning_rate", "warmup", "mixture"}, where)
    own = _expect_table(table.get("mixture", {}), f"{where}: mixture")
    _known(own, _MIXTURE_KEYS, f"the mixture of {where}")
    mixture = {**shared, **own}
    if "tasks" not in mixture:
        raise CurriculumError(f"The {where} lacks 'mixture.tasks': give the probability of each task.")
    try:
        drawn = TaskMixture(**{key: _mixture_value(key, item, where) for key, item in mixture.items()})
    except MixtureError as error:
        raise CurriculumError(f"In {where}: {error.message[0].lower()}{error.message[1:]}") from error
    return Stage(
        name=name,
        length=_length(table, where),
        learning_rate=_number(
            table.get("learning_rate", _Missing(f"learning_rate of {where}")),
            f"learning_rate of {where}",
            1e-9,
            1,
        ),
        mixture=drawn,
        warmup=_number(table.get("warmup", 0.0), f"warmup of {where}", 0, 1),
    )


def _length(table: Mapping[str, Any], where: str) -> Length:
    given = [key for key in _LENGTH_KEYS if key in table]
    if len(given) != 1:
        raise CurriculumError(f"The {where} needs exactly one of 'share', 'steps' and 'adaptive'.")
    if "share" in table:
        return Share(_number(table["share"], f"share of {where}", 1e-6, 1))
    if "steps" in table:
        return FixedSteps(_whole(table["steps"], f"steps of {where}"))
    rule = _expect_table(table["adaptive"], f"adaptive of {where}")
    keys = [item.name for item in fields(Adaptive)]
    _known(rule, keys, f"'adaptive' of {where}")

    def whole(key: str) -> int:
        return _whole(rule.get(key, _Missing(f"adaptive.{key} of {where}")), f"adaptive.{key} of {where}")

    label = f"adaptive.min_improvement of {where}"
    length = Adaptive(
        min_steps=whole("min_steps"),
        max_steps=whole("max_steps"),
        patience=whole("patience"),
        min_improvement=_number(rule.get("min_improvement", _Missing(label)), label, 0, 0.99),
    )
    if length.min_steps > length.max_steps:
        raise CurriculumError(
            f"The 'adaptive.min_steps' of {where} are more than its 'adaptive.max_steps': lower them."
        )
    return length


def _mixture_value(key: str, value: Any, where: str) -> Any:
    label = f"{key} in the mixture of {where}"
    if key in _ENUM_TABLES:
        choices = _ENUM_TABLES[key]
        table = _expect_table(value, label)
        _known(table, [choice.value for choice in choices], f"'{label}'")
        return tuple((choices(name), _number(item, f"{label}: {name}", 0, 1)) for name, item in table.items())
    if key == "coverage":
        if value not in list(CoverageRule):
            raise CurriculumError(f"The {label} is {value!r}: give one of {', '.join(CoverageRule)}.")
        return CoverageRule(value)
    if key in _LISTS | _RANGES:
        if not isinstance(value, list) or (key in _RANGES and len(value) != 2):
            wanted = "two numbers" if key in _RANGES else "a list of numbers"
            raise CurriculumError(f"The {label} is {value!r}: give {wanted} in brackets.")
        return tuple(_number(item, label) for item in value)
    if key == "min_points":
        return _whole(value, label)
    return _number(value, label)


@dataclass(frozen=True)
class _Missing:
    """Stands for a key that must be there."""

    label: str


def _known(table: Mapping[str, Any], keys: Any, where: str) -> None:
    for key in table:
        if key not in keys:
            raise CurriculumError(
                f"The key '{key}' in {where} is unknown: remove it, or use one of {', '.join(sorted(keys))}."
            )


def _expect_table(value: Any, label: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CurriculumError(f"The curriculum's {label} is {value!r}: give a table of keys and values.")
    return value


def _text(value: Any, label: str) -> str:
    _refuse_missing(value)
    if not isinstance(value, str) or not value.strip() or len(value) > 100:
        raise CurriculumError(f"The curriculum's {label} is {value!r}: give a short text.")
    return value


def _whole(value: Any, label: str) -> int:
    _refuse_missing(value)
    if type(value) is not int or not 1 <= value <= 10**9:
        raise CurriculumError(f"The {label} is {value!r}: give a whole number of at least 1.")
    return value


def _number(value: Any, label: str, low: float = -math.inf, high: float = math.inf) -> float:
    _refuse_missing(value)
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        span = "" if math.isinf(low) else f" from {low:g} to {high:g}"
        raise CurriculumError(f"The {label} is {value!r}: give a number{span}.")
    return float(value)


def _refuse_missing(value: Any) -> None:
    if isinstance(value, _Missing):
        raise CurriculumError(f"The curriculum lacks '{value.label}': add it.")
