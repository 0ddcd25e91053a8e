"""Types of Blender's classes where the published stubs are wrong for every caller."""

from __future__ import annotations

from typing import Any, TypeAlias

Context: TypeAlias = Any
"""`bpy.types.Context`: the stubs describe its members (`scene`, `window_manager`, ...) as methods."""

Layout: TypeAlias = Any
"""`bpy.types.UILayout`: icons and operators' properties, chosen at run time, have no type in the stubs."""

OperatorResult: TypeAlias = set[Any]
"""What an operator returns, such as {'FINISHED'}."""
