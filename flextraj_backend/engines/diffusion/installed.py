"""The weights that the user has: where they lie and how large they are, without loading them."""

from __future__ import annotations

from dataclasses import dataclass

from blender_addon.core.errors import ErrorCode
from flextraj_backend.engines.base import EngineError
from flextraj_backend.installation import missing_packages
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_summary import AdapterSummary, adapter_summary
from flextraj_backend.models.model_sizes import ModelSizes
from flextraj_backend.models.weights import WeightsLocation, locate_weights, read_sizes


@dataclass(frozen=True, eq=False)
class InstalledModel:
    """A base model and its control on this machine."""

    location: WeightsLocation
    sizes: ModelSizes
    control: AdapterSummary


def check_packages() -> None:
    """Raises EngineError with the command that installs what is missing."""
    if (sentence := missing_packages("models")) is not None:
        raise EngineError(sentence, ErrorCode.ENGINE)


def installed_model(backbone: Backbone) -> InstalledModel:
    """Find and check the weights of a backbone.

    Raises:
        FlexTrajError: they are missing, incomplete or do not belong together; the sentence says what to do.
    """
    return read_model(backbone, locate_weights(backbone))


def read_model(backbone: Backbone, location: WeightsLocation) -> InstalledModel:
    """The same of weights whose place is known."""
    return InstalledModel(location, read_sizes(backbone, location), adapter_summary(location.adapter))
