"""Distances between feature sets: closed forms of Gaussians, torchmetrics on the same features, no pair of copies."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ecsupport.core.errors import UserError
from ecsupport.evaluation.frechet import (
    NotComputable,
    frechet_distance,
    frechet_of_moments,
    moments,
    value_or_reason,
)
from ecsupport.evaluation.kernel_distance import kernel_distance, kernel_distance_over_subsets

SIGMAS = 4.5  # of Monte Carlo error allowed: a chance of 1 in 150,000 per comparison


def sets(seed, n=40, m=50, d=6):
    """Two feature sets of different mean and correlated features."""
    rng = np.random.default_rng(seed)
    mix = [rng.normal(size=(d, d)) for _ in range(2)]
    return rng.normal(size=(n, d)) @ mix[0], rng.normal(size=(m, d)) @ mix[1] + rng.normal(size=d)


class PassThrough(torch.nn.Module):
    """A feature network whose features are the images themselves."""

    num_features = 6

    def forward(self, x):
        return x.double().flatten(1)


def with_torchmetrics(metric, real, generated):
    metric.set_dtype(torch.float64)
    for features, is_real in ((real, True), (generated, False)):
        metric.update(torch.from_numpy(features), real=is_real)
    return metric.compute()


# --- Fréchet distance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_is_that_of_torchmetrics(seed):
    real, generated = sets(seed)
    metric = FrechetInceptionDistance(PassThrough(), normalize=True, input_img_size=(1, 1, 6))
    assert frechet_distance(real, generated) == pytest.approx(float(with_torchmetrics(metric, real, generated)), 1e-6)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 12))
def test_the_trace_is_that_of_the_matrix_square_root(seed, d):
    real, generated = sets(seed, n=3 * d + 2, m=4 * d + 2, d=d)
    (mean_r, c_r), (mean_g, c_g) = moments(real), moments(generated)
    root = linalg.sqrtm(c_r @ c_g)
    expected = np.sum((mean_r - mean_g) ** 2) + np.trace(c_r + c_g) - 2 * np.trace(root).real
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-6)


def test_gaussians_that_share_their_axes_have_the_known_distance():
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    a, b, shift = np.array([1.0, 2, 3, 0]), np.array([2.0, 1, 0.5, 4]), np.array([1.0, 0, -2, 0])
    got = frechet_of_moments(np.zeros(4), axes * a**2 @ axes.T, shift, axes * b**2 @ axes.T)
    assert got == pytest.approx(np.sum(shift**2) + np.sum((a - b) ** 2))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_moving_turning_and_swapping_both_sets_changes_nothing(seed):
    real, generated = sets(seed)
    rng = np.random.default_rng(seed)
    turn, shift = np.linalg.qr(rng.normal(size=(6, 6)))[0], rng.normal(size=6)
    value = frechet_distance(real, generated)
    assert frechet_distance(real @ turn + shift, generated @ turn + shift) == pytest.approx(value, rel=1e-7)
    assert frechet_distance(generated, real) == pytest.approx(value, rel=1e-7)
    assert frechet_distance(3 * real, 3 * generated) == pytest.approx(9 * value, rel=1e-7)


def test_a_set_has_no_distance_to_itself_even_with_a_dead_feature():
    real, _ = sets(2)
    dead = np.column_stack([real, np.full(len(real), 7.0)])
    for features in (real, dead):
        assert 0 <= frechet_distance(features, features[::-1]) < 1e-6 * np.trace(moments(features)[1])


def test_the_excess_of_few_images_falls_as_one_over_their_number():
    rng, d = np.random.default_rng(3), 4
    mean = {
        n: np.mean([frechet_distance(*rng.normal(size=(2, n, d))) for _ in range(400)]) for n in (50, 100, 200)
    }  # the truth is 0
    assert [mean[n] * n for n in (50, 100)] == pytest.approx([mean[200] * 200] * 2, rel=0.15)
    assert mean[50] * 50 > d  # the means alone cost 2 d / n


def test_too_few_images_are_a_table_cell_and_no_number():
    real, generated = sets(4, n=34, m=500, d=64)
    with pytest.raises(NotComputable, match=r"not computable \(34 images, 64 features\)\. Give more than 64"):
        frechet_distance(real, generated)
    assert value_or_reason(frechet_distance, generated, real) == "not computable (34 images, 64 features)"
    assert value_or_reason(frechet_distance, real[:, :33], generated[:, :33]) > 0
    assert isinstance(value_or_reason(frechet_distance, real[:, :34], generated[:, :34]), str)


def test_features_that_are_none_are_refused():
    real, generated = sets(5)
    broken = generated.copy()
    broken[3, 1] = np.nan
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(UserError, match="set 2, image 4 has a NaN"):
            distance(real, broken)
        with pytest.raises(UserError, match="same features in each set"):
            distance(real, generated[:, :3])
        with pytest.raises(UserError, match="Give .images, features."):
            distance(real[0], generated[0])


# --- kernel distance ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
@pytest.mark.parametrize("seed", range(5))
def test_kernel_distance_is_that_of_torchmetrics(seed):
    real, generated = sets(seed, n=45, m=45)
    metric = KernelInceptionDistance(PassThrough(), subsets=3, subset_size=45, normalize=True)
    mean, sd = with_torchmetrics(metric, real, generated)
    assert float(sd) == pytest.approx(0, abs=1e-9 * float(mean))  # every subset is the whole set
    assert kernel_distance(real, generated) == pytest.approx(float(mean), rel=1e-6)


def test_kernel_distance_is_the_sum_over_pairs():
    real, generated = sets(6, n=5, m=7, d=3)

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [
        np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in sets(6, 5, 7, 3)
    ]
    between = np.mean([k(a, b) for a in real for b in generated])
    assert kernel_distance(real, generated) == pytest.approx(sum(within) - 2 * between)


@pytest.mark.parametrize("n", [4, 20])
def test_kernel_distance_is_right_on_average_however_few_images(n):
    rng = np.random.default_rng(7)
    alike = np.array([kernel_distance(*rng.normal(size=(2, n, 1))) for _ in range(4000)])
    assert abs(alike.mean()) < SIGMAS * alike.std() / np.sqrt(len(alike))
    assert (alike < 0).mean() > 0.3  # as an unbiased estimate of 0 must be
    # d = 1, N(0, 1) against N(s, 1): expanding (ab + 1)^3 gives 3 s^2 + 3 (s^2)^2 + (s^3 + 3 s)^2
    s = 0.7
    values = np.array([kernel_distance(rng.normal(size=(n, 1)), s + rng.normal(size=(n, 1))) for _ in range(4000)])
    truth = 3 * s**2 + 3 * s**4 + (s**3 + 3 * s) ** 2
    assert abs(values.mean() - truth) < SIGMAS * values.std() / np.sqrt(len(values))


def test_subsets_agree_with_the_full_sets_on_average_and_spread_by_their_size():
    real, generated = sets(8, n=60, m=80)
    small, large = (
        kernel_distance_over_subsets(real, generated, rng=np.random.default_rng(1), subsets=2000, size=size)
        for size in (20, 40)
    )
    for over in (small, large):
        assert abs(over.mean - kernel_distance(real, generated)) < SIGMAS * over.sd / np.sqrt(2000)
    assert small.sd > 1.5 * large.sd
    whole = kernel_distance_over_subsets(real[:60], generated[:60], rng=np.random.default_rng(2), subsets=4, size=60)
    assert whole.sd == pytest.approx(0, abs=1e-9 * whole.mean)
    assert whole.mean == pytest.approx(kernel_distance(real, generated[:60]))


def test_subsets_larger_than_a_set_are_not_computable():
    real, generated = sets(9, n=34, m=90)
    for pair in ((real, generated), (generated, real)):
        cell = value_or_reason(kernel_distance_over_subsets, *pair, rng=np.random.default_rng(0))
        assert cell == "not computable (34 images, subsets of 1000)"
    assert value_or_reason(kernel_distance, real[:1], generated) == "not computable (no pair of different images)"
    with pytest.raises(ValueError, match="0 subsets of 5"):
        kernel_distance_over_subsets(real, generated, rng=np.random.default_rng(0), subsets=0, size=5)


# --- kernel distance and copies -------------------------------------------------------------------------------------


def naive(real, generated):
    """Every row taken for an image of its own, whatever it holds."""
    n, m = len(real), len(generated)
    return kernel_distance(real, generated, (np.arange(n), np.arange(n, n + m)))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), copies=st.integers(2, 4))
def test_copying_every_image_changes_nothing(seed, copies):
    real, generated = sets(seed, n=9, m=11)
    value, ids = kernel_distance(real, generated), (np.arange(9) + 100, np.arange(11))
    assert naive(real, generated) == pytest.approx(value, rel=1e-12)
    copied = np.tile(real, (copies, 1)), generated.repeat(copies, axis=0)
    named = np.tile(ids[0], copies), ids[1].repeat(copies)
    assert kernel_distance(*copied, named) == pytest.approx(value, rel=1e-9)
    assert naive(*copied) > value  # an image is nearer to its copy than images are to each other
    order = np.random.default_rng(seed).permutation(len(copied[0]))
    shuffled = kernel_distance(copied[0][order], copied[1], (named[0][order], named[1]))
    assert shuffled == pytest.approx(value, rel=1e-9)


def test_a_bootstrap_of_the_images_keeps_its_mean_only_if_copies_are_not_paired():
    real, generated = sets(20, n=30, m=30)
    value, rng, drawn = kernel_distance(real, generated), np.random.default_rng(21), []
    for _ in range(1000):
        first, second = rng.integers(30, size=(2, 30))
        pair = real[first], generated[second]
        drawn.append((kernel_distance(*pair, (first, 100 + second)), naive(*pair)))
    error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    ours, paired = np.abs(np.mean(drawn, axis=0) - value) / error
    assert ours < SIGMAS < 3 * SIGMAS < paired


def test_real_images_in_both_sets_are_not_paired_with_themselves():
    rng, found = np.random.default_rng(22), []
    for _ in range(800):
        images = rng.normal(size=(30, 3))  # the first 20 and the last 20: ten are in both sets
        ids = np.arange(30)
        first, second = slice(0, 20), slice(10, 30)
        pair = images[first], images[second]
        found.append((kernel_distance(*pair, (ids[first], ids[second])), naive(*pair)))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    ours, paired = np.mean(found, axis=0) / error  # the truth is 0
    assert abs(ours) < SIGMAS
    assert paired < -3 * SIGMAS


def test_equal_rows_without_names_are_refused_and_both_are_named():
    real, generated = sets(23, n=6, m=8)
    within = np.concatenate([real, real[2:3]])
    cell = "not computable (images {} and {} have equal features)"
    assert value_or_reason(kernel_distance, within, generated) == cell.format("3 of the real", "7 of the real")
    generated[4] = real[1]
    assert value_or_reason(kernel_distance, real, generated) == cell.format("2 of the real", "5 of the generated")
    several = value_or_reason(kernel_distance_over_subsets, real, generated, rng=np.random.default_rng(0), size=4)
    assert several == cell.format("2 of the real", "5 of the generated")
    with pytest.raises(NotComputable, match="Name the image of every row in image_ids"):
        kernel_distance(real, generated)


def test_a_generator_that_always_makes_the_same_picture_is_judged_if_its_images_have_names():
    real, _ = sets(24)
    collapsed = np.tile(real.mean(axis=0), (50, 1))
    ids = np.arange(40), np.arange(40, 90)
    rng = np.random.default_rng(1)
    subsets = kernel_distance_over_subsets(real, collapsed, ids, rng=rng, subsets=50, size=30)
    assert subsets.mean == pytest.approx(kernel_distance(real, collapsed, ids), abs=SIGMAS * subsets.sd / np.sqrt(50))
    assert kernel_distance(real, collapsed, ids) > abs(kernel_distance(real[::2], real[1::2]))


def test_subsets_do_not_pair_copies_either():
    real, generated = sets(25, n=20, m=25)
    ids = np.arange(20).repeat(2), np.arange(20, 45)
    over = kernel_distance_over_subsets(
        real.repeat(2, axis=0), generated, ids, rng=np.random.default_rng(2), subsets=1500, size=20
    )
    assert abs(over.mean - kernel_distance(real, generated)) < SIGMAS * over.sd / np.sqrt(1500)


def test_names_are_asked_for_every_row():
    real, generated = sets(26, n=5, m=6)
    with pytest.raises(UserError, match="image_ids of generated, row 6"):
        kernel_distance(real, generated, (range(5), range(5, 10)))
    with pytest.raises(UserError, match="image_ids: entry 3 is empty"):
        kernel_distance(real, generated, (["a", "b", None, "c", "d"], list("efghij")))
    with pytest.raises(NotComputable, match="no pair of different images"):
        kernel_distance(real, generated, (["a"] * 5, list("efghij")))


def test_blocks_of_rows_do_not_change_the_kernel_distance(monkeypatch):
    real, generated = sets(27)
    value = kernel_distance(real, generated)
    monkeypatch.setattr("ecsupport.evaluation.kernel_distance._BLOCK", 7)
    assert kernel_distance(real, generated) == pytest.approx(value, rel=1e-12)
