"""The child process of one fit: `python -m flextraj_backend.server.fit_worker`.

A `FitOrder` comes in as JSON on the standard input, the answer goes out as JSON on the standard output:
`{"fit": ...}` or `{"error": {"code", "message"}}`. Whatever else is printed goes to standard error.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blender_addon.client.messages import FitAnswer
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.grey_png import encode_mask
from blender_addon.core.placement import as_numbers
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectory_file import read_trajectories
from flextraj_backend.image_io import read_mask, read_photo
from flextraj_backend.rendering import place_motion


@dataclass(frozen=True)
class FitOrder:
    """What is fitted: a request, and where its assets lie."""

    request: RenderRequest
    trajectories: Path
    image: Path
    mask: Path | None

    def to_json(self) -> str:
        """Write the order as one line."""
        paths = {name: str(getattr(self, name)) for name in ("trajectories", "image")}
        mask = None if self.mask is None else str(self.mask)
        return json.dumps({"request": asdict(self.request), **paths, "mask": mask})

    @classmethod
    def from_json(cls, text: str) -> FitOrder:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        mask = values["mask"]
        return cls(
            RenderRequest.from_dict(values["request"]),
            Path(values["trajectories"]),
            Path(values["image"]),
            None if mask is None else Path(mask),
        )


def fit(order: FitOrder) -> FitAnswer:
    """Place the motion on the photo as a render would. Raises FlexTrajError."""
    # Opened or read here, so that an error does not name a file that the user never made.
    with order.trajectories.open("rb") as file:
        trajectories = read_trajectories(file)
    photo = read_photo(order.image.read_bytes())
    mask = None if order.mask is None else read_mask(order.mask.read_bytes())
    found = place_motion(order.request, trajectories, photo, mask).fit
    return FitAnswer(
        matrix=as_numbers(found.matrix),
        iou=found.iou,
        warnings=found.warnings,
        mask_png=base64.b64encode(encode_mask(found.subject_mask)).decode("ascii"),
    )


def _answer(text: str) -> dict[str, Any]:
    try:
        return {"fit": fit(FitOrder.from_json(text)).to_dict()}
    except FlexTrajError as error:
        return {"error": {"code": error.code, "message": error.message}}
    except MemoryError:
        sentence = "There is not enough memory to fit the motion: use a smaller size or a smaller photo."
        return {"error": {"code": ErrorCode.MEMORY, "message": sentence}}
    except Exception as error:
        # A defect of ours or of a library: the backend's log has the traceback.
        traceback.print_exc()
        sentence = f"The fit stopped on an unexpected error ({type(error).__name__}): see the backend's log."
        return {"error": {"code": ErrorCode.DEFECT, "message": sentence}}


def main() -> int:
    """Answer one order; the exit code is 0 whenever there is an answer."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print
    channel.write(json.dumps(_answer(sys.stdin.read())))
    channel.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
