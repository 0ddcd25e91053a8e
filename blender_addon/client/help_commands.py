"""The exact command that mends an error, found in its sentence.

The convention of all sentences: a command that the user should run stands in them as run '...'.
"""

from __future__ import annotations

import re

from ..core.errors import FlexTrajError
from .backend_location import INSTALL_COMMAND, find_backend_python

_COMMAND = re.compile(r"\brun '([^']+)'", re.IGNORECASE)
_PROGRAM = "flextraj "


def command_in(sentence: str, chosen_python: str) -> str:
    """The command of a sentence as it works in any folder; the installation's where the sentence has none.

    Args:
        chosen_python: the backend's interpreter by the preferences, may be empty.
    """
    match = _COMMAND.search(sentence)
    if match is None:
        return INSTALL_COMMAND
    command = match[1]
    if not command.startswith(_PROGRAM):
        return command
    try:
        # The program is in the backend's own environment, which is not on the user's PATH.
        python = find_backend_python(chosen_python)
    except FlexTrajError:
        return command
    return f'"{python}" -m flextraj_backend {command.removeprefix(_PROGRAM)}'
