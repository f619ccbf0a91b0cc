"""What lies far from the brain is air; the brain is as it was."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from models.faces import KEPT_MM, without_face
from models.slabs import AIR
from models.volume import Volume
from tests.support.working import PREPARING
from training.phantoms import phantom


@pytest.fixture(scope="module")
def head() -> Volume:
    return phantom(1).volume


def test_the_inside_of_the_skull_and_the_bone_are_kept(head: Volume) -> None:
    slabs, canvas = PREPARING.preprocess(head)
    brain = canvas.at_voxels(canvas.brain, slabs) > 127
    cleaned = without_face(head, slabs, canvas)
    assert np.array_equal(cleaned[brain], head.hu[brain])
    assert set(np.unique(cleaned[cleaned != head.hu])) <= {AIR}


def test_what_stands_beside_the_head_becomes_air(head: Volume) -> None:
    slabs, canvas = PREPARING.preprocess(head)
    beside = head.hu.copy()
    beside[:, :3] = 300
    assert (without_face(replace(head, hu=beside), slabs, canvas)[:, :3] == AIR).all()


def test_no_voxel_far_from_the_brain_is_kept(head: Volume) -> None:
    slabs, canvas = PREPARING.preprocess(head)
    brain = canvas.at_voxels(canvas.brain, slabs) > 127
    spacing = (float(np.diff(head.locations_mm).mean()), *head.spacing_mm)
    apart_mm = ndimage.distance_transform_edt(~brain, sampling=spacing)
    full = replace(head, hu=np.full_like(head.hu, 40))
    kept = without_face(full, slabs, canvas) != AIR
    assert apart_mm[kept].max() < KEPT_MM + 5


def test_it_is_the_same_whichever_way_the_slices_lie(head: Volume) -> None:
    turned = replace(
        head,
        hu=head.hu[:, ::-1, ::-1],
        orientation=-head.orientation,
        positions_mm=head.positions_mm
        + head.orientation[:3] * (head.hu.shape[2] - 1) * head.spacing_mm[1]
        + head.orientation[3:] * (head.hu.shape[1] - 1) * head.spacing_mm[0],
    )
    kept, same = (without_face(each, *PREPARING.preprocess(each)) != AIR for each in (head, turned))
    assert (kept != same[:, ::-1, ::-1]).mean() < 0.001
