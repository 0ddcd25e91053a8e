"""The paper's ablation table (CogVideoX-5B on DAVIS), to compare the order with, never the figures.

Model, data and metrics are others than ours: its TrajErr and TrajSIM come from a learned tracker with
formulas that are not published, its FVD from I3D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flextraj_backend.study.figures import FVD_ALIGNED, FVD_UNALIGNED, TRAJ_ERR, TRAJ_SIM, Figure
from flextraj_backend.study.variants import Variant

PAPER: Mapping[Figure, Mapping[Variant, float]] = MappingProxyType(
    {
        TRAJ_ERR: {
            Variant.FULL: 0.024,
            Variant.NO_TRAJ_ID: 0.029,
            Variant.NO_SEG_ID: 0.040,
            Variant.CONTROLNET: 0.131,
            Variant.RANDOM_MIX: 0.126,
            Variant.SPARSE_TO_DENSE: 0.126,
        },
        TRAJ_SIM: {
            Variant.FULL: 0.908,
            Variant.NO_TRAJ_ID: 0.904,
            Variant.NO_SEG_ID: 0.895,
            Variant.CONTROLNET: 0.556,
            Variant.RANDOM_MIX: 0.588,
            Variant.SPARSE_TO_DENSE: 0.592,
        },
        FVD_ALIGNED: {
            Variant.FULL: 693.3,
            Variant.NO_TRAJ_ID: 668.2,
            Variant.NO_SEG_ID: 707.9,
            Variant.CONTROLNET: 1083.2,
            Variant.RANDOM_MIX: 1034.6,
            Variant.SPARSE_TO_DENSE: 1030.0,
        },
        FVD_UNALIGNED: {
            Variant.FULL: 622.25,
            Variant.NO_TRAJ_ID: 606.0,
            Variant.NO_SEG_ID: 636.6,
            Variant.CONTROLNET: 1098.4,
            Variant.RANDOM_MIX: 1003.8,
            Variant.SPARSE_TO_DENSE: 987.6,
        },
    }
)


def paper_order(figure: Figure) -> tuple[Variant, ...]:
    """The paper's variants, best first."""
    values = PAPER[figure]
    return tuple(sorted(values, key=lambda variant: figure.cost(values[variant])))
