"""Blender's user files go to a folder of the test run, set before anything imports bpy."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_user_resources = tempfile.mkdtemp(prefix="flextraj-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _user_resources
atexit.register(shutil.rmtree, _user_resources, ignore_errors=True)
