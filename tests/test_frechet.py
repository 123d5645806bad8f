"""Distances between feature sets: closed forms of Gaussians, torchmetrics on the same features, known coverage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ecsupport.core.errors import UserError
from ecsupport.evaluation.feature_sets import (
    jackknife,
    jackknife_difference,
    mean_pairwise_distance,
    split_half_floor,
)
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
    assert value_or_reason(kernel_distance, real[:1], generated) == "not computable (1 images)"
    with pytest.raises(ValueError, match="0 subsets of 5"):
        kernel_distance_over_subsets(real, generated, rng=np.random.default_rng(0), subsets=0, size=5)


# --- floor and diversity --------------------------------------------------------------------------------------------


def test_the_floor_keeps_a_patient_in_one_half():
    rng = np.random.default_rng(10)
    patients = np.repeat(np.arange(12), 5)
    seen = []

    def distance(a, b):
        seen.append((set(a[:, 0]), set(b[:, 0])))
        return float(len(seen))

    floor = split_half_floor(distance, patients[:, None].astype(float), patients, rng=rng, repeats=4)
    assert floor == 2.5  # the mean of 1, 2, 3, 4
    assert all(not first & second and len(first) == len(second) == 6 for first, second in seen)
    assert len({frozenset(first) for first, _ in seen}) > 1
    with pytest.raises(NotComputable, match="1 patient"):
        split_half_floor(distance, np.ones((4, 1)), ["a"] * 4, rng=rng)


def test_the_floor_of_one_population_is_below_the_distance_to_another():
    rng, patients = np.random.default_rng(11), np.repeat(np.arange(40), 4)
    real, other = rng.normal(size=(160, 3)), rng.normal(size=(160, 3)) + 1
    assert 3 * split_half_floor(frechet_distance, real, patients, rng=rng) < frechet_distance(real, other)


def test_diversity_counts_pairs_of_different_patients_only(monkeypatch):
    features, patients = np.array([[0.0, 0], [3, 4], [0, 0], [6, 8]]), ["a", "b", "a", "b"]
    assert mean_pairwise_distance(features, patients) == pytest.approx((5 + 10) / 2)
    many, of = np.random.default_rng(12).normal(size=(60, 3)), np.arange(60) // 3
    pairs = [np.linalg.norm(many[i] - many[j]) for i in range(60) for j in range(60) if of[i] != of[j]]
    for block in (7, 512):
        monkeypatch.setattr("ecsupport.evaluation.feature_sets._BLOCK", block)
        assert mean_pairwise_distance(many, of) == pytest.approx(np.mean(pairs))
    with pytest.raises(NotComputable, match="1 patient"):
        mean_pairwise_distance(features, ["a"] * 4)


# --- jackknife ------------------------------------------------------------------------------------------------------


def test_the_jackknife_of_a_mean_difference_is_welch_s_t():
    rng = np.random.default_rng(13)
    a, b = rng.normal(size=9), rng.normal(size=14) * 2
    got = jackknife(lambda x, y: a[x].mean() - b[y].mean(), [np.arange(9), np.arange(100, 114)], rng=rng)
    theirs = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (got.low, got.high) == pytest.approx(tuple(theirs))
    assert got.value == pytest.approx(a.mean() - b.mean())
    assert got.corrected == pytest.approx(got.value)  # a mean has no bias
    assert got.n_patients == 23


def test_the_jackknife_removes_the_bias_of_a_variance():
    rng = np.random.default_rng(14)
    x = rng.normal(size=11)
    got = jackknife(lambda kept: np.var(x[kept]), [np.arange(11)], rng=rng)
    assert got.corrected == pytest.approx(np.var(x, ddof=1))


def test_a_patient_in_both_sets_is_left_out_of_both():
    seen = []
    ids = [np.array(["p", "p", "q", "r"]), np.array(["q", "s", "r", "t"])]

    def statistic(first, second):
        seen.append((set(ids[0][~first]), set(ids[1][~second])))
        return float(first.sum())

    with pytest.raises(NotComputable, match="1 patient in a set"):  # p alone has images in the first only
        jackknife(statistic, ids, rng=np.random.default_rng(0))
    ids[0] = np.array(["p", "u", "q", "r"])
    seen.clear()
    jackknife(statistic, ids, rng=np.random.default_rng(0))
    gone = {"q": ({"q"}, {"q"}), "r": ({"r"}, {"r"}), "p": ({"p"}, set()), "u": ({"u"}, set())}
    assert all(pair in seen for pair in gone.values())
    assert len(seen) == 1 + 6


def test_groups_of_patients_give_about_the_error_that_single_patients_give():
    rng = np.random.default_rng(15)
    x = rng.normal(size=400)
    single, grouped = (
        jackknife(lambda kept: x[kept].mean(), [np.arange(400)], rng=np.random.default_rng(1), groups=groups)
        for groups in (400, 80)
    )
    assert single.standard_error == pytest.approx(x.std(ddof=1) / 20)
    # a variance from 80 groups has a relative error of sqrt(2 / 79), its root half of that
    assert grouped.standard_error == pytest.approx(single.standard_error, rel=SIGMAS * np.sqrt(2 / 79) / 2)
    assert grouped.standard_error != single.standard_error


def test_a_generator_does_not_differ_from_itself():
    real, generated = sets(16)
    got = jackknife_difference(
        frechet_distance,
        real,
        generated,
        generated,
        np.arange(40) // 2,
        np.arange(50) + 99,
        rng=np.random.default_rng(0),
    )
    assert (got.value, got.corrected, got.standard_error, got.n_patients) == (0, 0, 0, 70)
    assert np.isnan([got.low, got.high]).all()


def test_patients_are_asked_for_every_row():
    real, generated = sets(17)
    with pytest.raises(UserError, match="source_patients"):
        jackknife_difference(
            kernel_distance, real, generated, generated, range(40), range(49), rng=np.random.default_rng(0)
        )


REPLICATIONS = 150


def patients_features(rng, patients, images, d):
    """Standard normal features, of which half the variance is the patient's: (patients * images, d)."""
    own = rng.normal(size=(patients, 1, d)) + rng.normal(size=(patients, images, d))
    return own.reshape(-1, d) / np.sqrt(2)  # (patients, images, d) -> (patients * images, d)


def hits_of_intervals(distance, d, images, truth=None):
    """How often the interval of distance(a) - distance(b) covers the truth, and would if centred on the plain value.

    Real images are N(0, I), a is N(.5 u, I) and b N(u, 1.3^2 I) for a unit vector u; 22 and 12 patients.
    Where no truth is given it is taken from 4000 independent images of each.
    """
    rng, real_patients, source_patients = np.random.default_rng(18), np.arange(22), 1000 + np.arange(12)

    def draw(n_real, n_source, images):
        source, u = patients_features(rng, n_source, images, d), np.full(d, d**-0.5)
        return patients_features(rng, n_real, images, d), source + 0.5 * u, 1.3 * source + u

    if truth is None:
        real, a, b = draw(4000, 4000, 1)
        truth = distance(real, a) - distance(real, b)
    hits = np.zeros(2)
    for _ in range(REPLICATIONS):
        of_patients = real_patients.repeat(images), source_patients.repeat(images)
        got = jackknife_difference(distance, *draw(22, 12, images), *of_patients, rng=rng)
        hits += got.low <= truth <= got.high, abs(got.value - truth) <= got.high - got.corrected
    return hits / REPLICATIONS


def least(coverage):
    """What a coverage may fall to in this many replications."""
    return coverage - 2.5 * np.sqrt(coverage * (1 - coverage) / REPLICATIONS)


def test_the_interval_of_a_frechet_difference_covers_the_known_one_because_its_bias_is_corrected():
    covered, plain = hits_of_intervals(frechet_distance, 16, 8, truth=0.25 - (1 + 16 * 0.3**2))
    assert covered > least(0.95)
    assert plain < 0.85


def test_the_interval_of_a_kernel_difference_covers_about_nine_times_in_ten():
    # 0.89 over 300 other replications: with 12 patients its standard error is itself uncertain
    covered, _ = hits_of_intervals(kernel_distance, 6, 4)
    assert least(0.89) < covered < 0.99
