"""The one button that helps against an error."""

from __future__ import annotations

from .blender_types import Layout
from .core.errors import ErrorCode
from .error_fixes import Detail, fix_of


def draw_fix(layout: Layout, code: str, message: str, key: str = "") -> bool:
    """Draw the button against an error; return False where there is none.

    Args:
        code: value of an ErrorCode, may be empty.
        key: job that failed, empty where it was none.
    """
    fix = fix_of(ErrorCode(code)) if code else None
    if fix is None:
        return False
    button = layout.operator(fix.operator, text=fix.label, icon=fix.icon)
    details = {Detail.MESSAGE: message, Detail.KEY: key}
    for name, value in (*fix.settings, *((detail.value, details[detail]) for detail in fix.details)):
        setattr(button, name, value)
    return True
