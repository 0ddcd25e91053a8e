"""How much the rig covers: what the panel would say wrongly about a placement."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.core.placement import compose, identity, mirror, shifted
from blender_addon.core.rig_overlap import rig_overlap


def left_half() -> np.ndarray:
    mask = np.zeros((480, 720), bool)
    mask[100:300, 100:300] = True
    return mask


def test_a_rig_on_its_subject_covers_all_of_it_and_away_from_it_nothing() -> None:
    mask = left_half()
    assert rig_overlap([(mask, identity())], mask) == 1.0
    assert rig_overlap([(mask, shifted(identity(), np.array([300.0, 0.0])))], mask) == 0.0
    assert rig_overlap([(mask, compose(mirror(720), identity()))], mask) == 0.0
    assert rig_overlap([], np.zeros((480, 720), bool)) == 0.0


def test_half_a_rig_beside_its_subject_counts_as_a_third() -> None:
    mask = left_half()
    moved = shifted(identity(), np.array([100.0, 0.0]))
    assert rig_overlap([(mask, moved)], mask) == pytest.approx(1 / 3, abs=0.02)


def test_parts_that_cover_each_other_count_once() -> None:
    mask = left_half()
    upper = mask.copy()
    upper[200:] = False
    assert rig_overlap([(mask, identity()), (upper, identity())], mask) == 1.0
    assert rig_overlap([(upper, identity())], mask) == pytest.approx(0.5, abs=0.02)
