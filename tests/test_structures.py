"""What is known of phantoms: the invasion front is tumour beside the wall, and keys are found on what lies there."""

import numpy as np
import pytest
import torch

from ecsupport.cohort import manifest, structures
from ecsupport.core import profiles
from ecsupport.screening.gradients import area_of_tokens, keys_on_zones, share_of_keys, share_of_own
from ecsupport.screening.sparse_attention import importance, simulate, top_keys

NAMES = list(structures.STRUCTURES)


def test_the_front_is_the_rim_of_a_tumour_that_touches_the_wall():
    labels = np.full((2, 9, 9), NAMES.index("endometrium"))
    labels[0, :4] = NAMES.index("myometrium")
    labels[:, 4:7, 3:6] = NAMES.index("tumour")
    found = structures.front(labels)
    assert np.argwhere(found[0]).tolist() == [[4, 3], [4, 4], [4, 5]]
    assert not found[1].any()  # of the second image nothing is wall, and none of its neighbour in the batch counts


def test_phantoms_with_visible_invasion_have_a_front():
    rows = manifest.phantoms(profiles.load("smoke").cohort)
    rows = rows[(rows["modality"] == "us") & (rows["label"] == 1)].head(12)
    known = structures.known(rows, 64)
    assert known.visible.sum() > 5
    assert structures.front(known.labels)[known.visible].any((1, 2)).all()


def test_tokens_hold_their_part_of_a_mask():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :2, 2:4] = masks[1, 0, 0] = True
    area = area_of_tokens(masks, 16).reshape(2, 4, 4)
    assert area[0, 0, 1] == 1
    assert area[0].sum() == 1
    assert area[1, 0, 0] == 0.25


@pytest.mark.parametrize("k", [1, 3, 16])
def test_random_keys_lie_on_a_structure_by_chance_and_chosen_ones_do_not(k):
    area = torch.zeros(1, 16)
    area[0, [2, 3, 7]] = 1
    noise = torch.rand(1, 4, 4, 2000, 16, generator=torch.Generator().manual_seed(k))
    share, chance = share_of_keys(noise.topk(k).indices, area)
    assert chance == pytest.approx(3 / 16)
    assert share == pytest.approx(chance, abs=0.01)
    share, _ = share_of_keys((noise + area[:, None, None, None]).topk(k).indices, area)
    assert share == pytest.approx(min(1, 3 / k))


@pytest.mark.parametrize("k", [1, 3])
def test_the_simulated_gradient_keeps_each_query_itself_and_random_keys_by_chance(k):
    features = torch.randn(2, 4, 4, 16, 10, generator=torch.Generator().manual_seed(k))
    kept = top_keys(importance(simulate(features), "abs_mix"), k)
    assert share_of_own(kept) == pytest.approx(1, abs=0.1)  # squares stand on the diagonal of F F^T
    square = torch.rand(50, 4, 4, 16, 16, generator=torch.Generator().manual_seed(k))
    assert share_of_own(square.topk(k).indices).mean() == pytest.approx(k / 16, abs=0.01)


def test_without_the_structure_there_is_no_share():
    share, chance = share_of_keys(torch.zeros(1, 4, 4, 9, 2, dtype=torch.int64), torch.zeros(1, 9))
    assert np.isnan(share).all()
    assert np.isnan(chance).all()


def test_keys_are_placed_image_by_image_and_block_by_block():
    """The images number themselves; of an even one the corner is chosen, of an odd one the token beside it."""
    images = np.zeros((5, 8, 8), np.uint8)
    images[:, 0, 0] = np.arange(5)
    zones = {"corner": np.zeros((5, 8, 8), bool), "nowhere": np.zeros((5, 8, 8), bool)}
    zones["corner"][:, :2, :2] = True

    def choose(batch):
        first = torch.from_numpy(batch[:, 0, 0] % 2).long()  # token 0 is the corner, token 1 lies beside it
        return [first.reshape(-1, 1, 1, 1, 1).expand(-1, 4, 2, n, 1) for n in (16, 4, 1)]

    found = keys_on_zones(choose, images, zones, [16, 4], batch=2)
    corner = found[found["zone"] == "corner"].set_index(["block", "image"])
    assert corner.loc[1, "share"].tolist() == [1, 0, 1, 0, 1]
    assert corner.loc[2, "share"].tolist() == [0.25, 0, 0.25, 0, 0.25]
    assert corner["chance"].unique().tolist() == [1 / 16]
    np.testing.assert_array_equal(corner["elsewhere"], corner["share"])  # the structure of all images is in one place
    assert found.loc[found["zone"] == "nowhere", "share"].isna().all()
    assert set(found["block"]) == {1, 2}


def test_who_loves_a_place_finds_as_much_of_another_images_structure():
    """Structures lie anywhere in one half; keys that lie evenly in it are no better on the own structure."""
    rng, masks = np.random.default_rng(0), np.zeros((400, 4, 4), bool)
    for mask, row, column in zip(masks, rng.integers(0, 2, 400), rng.integers(0, 4, 400), strict=True):
        mask[row, column] = True
    keys = torch.from_numpy(rng.integers(0, 8, (400, 4, 2, 16, 3)))
    found = keys_on_zones(lambda batch: [keys], np.zeros((400, 4, 4), np.uint8), {"spot": masks}, [16], batch=400)
    assert found["chance"].unique().tolist() == [1 / 16]
    assert found["share"].mean() == pytest.approx(1 / 8, abs=0.005)
    assert found["elsewhere"].mean() == pytest.approx(1 / 8, abs=0.005)
