"""Values of animated properties: a change that has no key yet would be gone with the next frame change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import bpy

from .compat import animation_curves
from .motion_range import playing_strips

_COLLECTIONS = (
    *("armatures", "cameras", "curves", "lattices", "lights", "materials", "meshes", "metaballs"),
    *("node_groups", "objects", "scenes", "shape_keys", "worlds"),
)


@dataclass(frozen=True)
class KeyedValue:
    """What an animated property held.

    Attributes:
        owner: data-block with the animation.
        path: of the property, from the owner.
        index: of an array's element; counts only where the property is one.
    """

    owner: bpy.types.ID
    path: str
    index: int
    value: Any

    def put_back(self) -> None:
        """Set the property again where it differs by now; where it is gone or locked, nothing happens."""
        with suppress(ValueError, KeyError, TypeError, IndexError, AttributeError, ReferenceError):
            if _read(self.owner, self.path, self.index) != self.value:
                self._write()

    def _write(self) -> None:
        found: Any = self.owner.path_resolve(self.path)
        if _is_array(found):
            found[self.index] = self.value
            return
        if self.path.endswith("]"):
            # A custom property, such as a rig's switch between IK and FK.
            place, _, name = self.path.rpartition("[")
            holder: Any = self.owner.path_resolve(place) if place else self.owner
            holder[bpy.utils.unescape_identifier(name[1:-2])] = self.value
            self.owner.update_tag()
            return
        start = self.path.rfind(".")
        holder = self.owner.path_resolve(self.path[:start]) if start >= 0 else self.owner
        setattr(holder, self.path[start + 1 :], self.value)


def keyed_values() -> list[KeyedValue]:
    """Read every property of the file that an action animates."""
    values = []
    for owner in _animated():
        for curve in _curves(owner.animation_data):  # pyright: ignore[reportAttributeAccessIssue]
            with suppress(ValueError, KeyError, TypeError, IndexError):
                path, index = curve.data_path, curve.array_index
                values.append(KeyedValue(owner, path, index, _read(owner, path, index)))
    return values


def _animated() -> Iterator[bpy.types.ID]:
    for name in _COLLECTIONS:
        owners: list[Any] = list(getattr(bpy.data, name, ()))
        for owner in owners:
            # The node tree inside of a material, a world or a light is a data-block of its own.
            trees: list[Any] = [getattr(owner, "node_tree", None)]
            for one in (owner, *trees):
                if getattr(one, "animation_data", None) is not None and one.library is None:
                    yield one


def _curves(animation: Any) -> Iterator[Any]:
    if animation.action is not None:
        yield from animation_curves(animation.action, getattr(animation, "action_slot", None))
    for strip in playing_strips(animation):
        if strip.action is not None:
            yield from animation_curves(strip.action, getattr(strip, "action_slot", None))


def _read(owner: bpy.types.ID, path: str, index: int) -> Any:
    found: Any = owner.path_resolve(path)
    return found[index] if _is_array(found) else found


def _is_array(found: Any) -> bool:
    return hasattr(found, "__getitem__") and not isinstance(found, (str, bytes, bpy.types.bpy_struct))
