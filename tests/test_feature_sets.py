"""What feature sets say: extrapolation, floor, diversity, copies of training images, intervals of known coverage."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from ecsupport.core.errors import UserError
from ecsupport.evaluation.extrapolation import frechet_infinity
from ecsupport.evaluation.feature_sets import (
    jackknife,
    jackknife_difference,
    mean_pairwise_distance,
    memorisation,
    nearest_distances,
    real_floor,
)
from ecsupport.evaluation.frechet import NotComputable, frechet_distance, value_or_reason
from ecsupport.evaluation.kernel_distance import kernel_distance

SIGMAS = 4.5  # of Monte Carlo error allowed: a chance of 1 in 150,000 per comparison
REPLICATIONS = 150


def patients_features(rng, patients, images, d):
    """Standard normal features, of which half the variance is the patient's: (patients * images, d)."""
    own = rng.normal(size=(patients, 1, d)) + rng.normal(size=(patients, images, d))
    return own.reshape(-1, d) / np.sqrt(2)  # (patients, images, d) -> (patients * images, d)


# --- extrapolation --------------------------------------------------------------------------------------------------


def test_the_intercept_and_slope_of_an_exact_line_are_found(monkeypatch):
    seen = []

    def distance(real, generated):
        seen.append((real, generated))
        return 3 + 40 / len(generated)

    monkeypatch.setattr("ecsupport.evaluation.extrapolation.frechet_distance", distance)
    patients = np.arange(60).repeat(4), 100 + np.arange(60).repeat(2)
    real, generated = (ids[:, None].astype(float) for ids in patients)
    got = frechet_infinity(real, generated, *patients, rng=np.random.default_rng(0), repeats=3)
    assert (got.value, got.slope) == pytest.approx((3, 40))
    assert 12 <= len(got.points) <= 15
    assert got.points["images"].tolist() == pytest.approx((got.points["share"] * 120).tolist())
    assert (got.points["share"].iloc[0], got.points["share"].iloc[-1]) == (0.5, 1)
    assert len(seen) == 3 * (len(got.points) - 1) + 1  # all images can be drawn in one way
    for a, b in seen:
        assert len(a) == 2 * len(b)  # both shrink together, by patients who keep all their images
        assert set(np.unique(a, return_counts=True)[1]) == {4}
    assert len({tuple(b[:, 0]) for _, b in seen}) > len(got.points)


def extrapolated(patients, images, replications, by_image=False):
    """Excess over the known distance: plain, and extrapolated, (replications, 2)."""
    rng, d, truth = np.random.default_rng(30), 16, 1 + 16 * 0.3**2
    ids = np.arange(patients).repeat(images)
    if by_image:
        ids = np.arange(patients * images)
    found = []
    for _ in range(replications):
        pair = patients_features(rng, patients, images, d), 1.3 * patients_features(rng, patients, images, d) + d**-0.5
        found.append((frechet_distance(*pair), frechet_infinity(*pair, ids, 10_000 + ids, rng=rng, repeats=8).value))
    return np.array(found) - truth


def test_the_extrapolated_distance_of_independent_images_is_unbiased_and_nearer_to_the_truth():
    excess = extrapolated(100, 1, 60)
    plain, infinite = excess.mean(axis=0)
    error = excess[:, 1].std() / np.sqrt(len(excess))
    assert abs(infinite) < 0.03 * plain + SIGMAS * error
    assert SIGMAS * error < 0.15 * plain
    assert (abs(excess[:, 1]) < abs(excess[:, 0])).mean() > 0.95


def test_patients_with_many_images_are_extrapolated_as_patients():
    excess, by_image = extrapolated(12, 8, 40), extrapolated(12, 8, 40, by_image=True)
    plain, infinite = excess.mean(axis=0)
    assert abs(infinite) < 0.35 * plain
    assert by_image.mean(axis=0)[1] > 0.4 * plain  # images alone would leave the excess of few patients


def test_an_extrapolation_of_too_few_is_a_table_cell():
    rng, ids = np.random.default_rng(31), np.arange(200)
    real, generated = rng.normal(size=(200, 16)), rng.normal(size=(63, 16))

    def cell(*sets_and_patients):
        return value_or_reason(frechet_infinity, *sets_and_patients, rng=rng, repeats=2)

    assert cell(real, generated, ids, 300 + ids[:63]) == "not computable (63 images, 16 features)"
    assert cell(real, real[:64], ids, 300 + ids[:64]).value < 5
    assert cell(real, real[:64], ids, 300 + ids[:64] // 24) == "not computable (3 patients in a set)"
    with pytest.raises(UserError, match="source_patients"):
        frechet_infinity(real, generated, ids, ids, rng=rng)


# --- floor ----------------------------------------------------------------------------------------------------------


def test_the_floor_is_drawn_from_whole_other_patients_and_has_as_many_images_as_the_translations():
    rng, seen = np.random.default_rng(10), []
    ids = np.arange(30).repeat(5)
    of_real = np.array(["r", "r", "s"])

    def distance(real, drawn):
        seen.append(drawn[:, 0])
        return float(len(seen))

    got = real_floor(distance, np.zeros((3, 1)), ids[:, None], of_real, ids, 23, rng=rng, draws=4)
    assert (got.mean, got.low, got.high, got.n_images) == (2.5, 1, 4, 23)
    for drawn in seen:
        assert len(drawn) == 23
        assert sorted(np.unique(drawn, return_counts=True)[1]) == [3, 5, 5, 5, 5]
    assert len({tuple(drawn) for drawn in seen}) == 4
    cell = value_or_reason(real_floor, distance, np.zeros((3, 1)), ids[:, None], of_real, ids, 151, rng=rng)
    assert cell == "not computable (150 images for a floor of 151)"
    with pytest.raises(UserError, match="patient 7 is in both sets"):
        real_floor(distance, np.zeros((3, 1)), ids[:, None], np.array([7, 70, 71]), ids, 20, rng=rng)


def test_a_generator_that_makes_real_images_lies_within_the_floor_only_at_its_own_number_of_images():
    rng, d, patients = np.random.default_rng(11), 8, np.arange(200)
    real, others = rng.normal(size=(200, d)), rng.normal(size=(2000, d))
    few, many = (
        real_floor(frechet_distance, real, others, patients, 200 + np.arange(2000), n, rng=rng, draws=40)
        for n in (60, 300)
    )
    ideal = np.array([frechet_distance(real, rng.normal(size=(60, d))) for _ in range(40)])
    assert ((few.low <= ideal) & (ideal <= few.high)).mean() > 0.8
    assert few.mean == pytest.approx(ideal.mean(), rel=0.1)
    assert many.mean < 0.5 * ideal.mean()
    assert few.high < frechet_distance(real, rng.normal(size=(60, d)) + 0.5)


# --- diversity and copies of training images ------------------------------------------------------------------------


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


def test_the_nearest_training_image_is_found_block_by_block(monkeypatch):
    rng = np.random.default_rng(40)
    features, training = rng.normal(size=(40, 3)), rng.normal(size=(25, 3))
    expected = [min(np.linalg.norm(a - b) for b in training) for a in features]
    for block in (7, 512):
        monkeypatch.setattr("ecsupport.evaluation.feature_sets._BLOCK", block)
        assert nearest_distances(features, training) == pytest.approx(expected)


def test_a_generator_that_repeats_its_training_images_is_told_from_one_that_makes_new_ones():
    rng, d, ids = np.random.default_rng(41), 8, np.arange(100)
    training, real, new = (rng.normal(size=(n, d)) for n in (300, 100, 100))
    copied = training[:100] + 0.05 * rng.normal(size=(100, d))
    copies, honest = (memorisation(made, real, training, ids, ids, rng=rng, n_resamples=300) for made in (copied, new))
    assert copies.high < 0.2 and copies.nearer > 0.9
    assert honest.low < 1 < honest.high
    assert honest.expected == copies.expected == 1 / 101
    far = memorisation(10 * new, real, training, ids, ids, rng=rng, n_resamples=50)
    assert far.low > 2 and far.nearer == 0


def test_the_interval_of_the_ratio_covers_one_and_the_share_is_the_expected_where_images_are_new():
    rng, d, shares, hits = np.random.default_rng(42), 5, [], 0
    ids, others = np.arange(40).repeat(3), np.arange(30).repeat(3)
    for _ in range(REPLICATIONS):
        training, made, real = (patients_features(rng, n, 3, d) for n in (60, 40, 30))
        got = memorisation(made, real, training, ids, others, rng=rng, n_resamples=200)
        hits += got.low <= 1 <= got.high
        shares.append(got.nearer)
    assert least(0.93) < hits / REPLICATIONS
    # the real images of a patient are alike, so that her nearest tells less than as many patients' would
    assert np.mean(shares) == pytest.approx(got.expected, rel=0.5)


def test_more_copies_of_every_image_make_the_ratio_no_surer_since_patients_are_drawn():
    rng, ids = np.random.default_rng(44), np.arange(15)
    training, made, real = rng.normal(size=(30, 4)), rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
    once, five = (
        memorisation(*(x.repeat(n, axis=0) for x in (made, real)), training, *[ids.repeat(n)] * 2, rng=generator)
        for n, generator in ((1, np.random.default_rng(1)), (5, np.random.default_rng(1)))
    )
    assert (once.ratio, once.low, once.high) == pytest.approx((five.ratio, five.low, five.high))
    assert once.high > 1.1 * once.low


def test_memorisation_is_not_computable_against_training_images_or_for_one_patient():
    rng, ids = np.random.default_rng(43), np.arange(20)
    training, made = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    check = partial(value_or_reason, memorisation, rng=rng, n_resamples=20)
    cell = "not computable (real images at distance 0 of training images)"
    assert check(made, training[:20], training, ids, ids) == cell
    assert check(made, made + 1, training, ["a"] * 20, ids) == "not computable (1 patient in a set)"


# --- jackknife ------------------------------------------------------------------------------------------------------


def test_the_jackknife_of_a_mean_difference_is_welch_s_t():
    rng = np.random.default_rng(13)
    a, b = rng.normal(size=9), rng.normal(size=14) * 2
    got = jackknife(lambda x, y: a[x].mean() - b[y].mean(), [np.arange(9), np.arange(100, 114)], rng=rng)
    test = stats.ttest_ind(a, b, equal_var=False)
    theirs = test.confidence_interval()
    assert got.p_value() == pytest.approx(test.pvalue)
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


def test_seeds_and_patients_add_up_each_with_its_own_t():
    rng = np.random.default_rng(50)
    x, luck = rng.normal(size=12), 2 * rng.normal(size=6)
    got = jackknife(lambda kept: x[kept].mean() + luck, [np.arange(12)], rng=rng)
    reach = np.hypot(*(stats.t.ppf(0.975, len(of) - 1) * stats.sem(of) for of in (x, luck)))
    assert got.value == pytest.approx(x.mean() + luck.mean())
    assert (got.low, got.high) == pytest.approx((got.value - reach, got.value + reach))
    assert (got.scope, got.n_seeds, got.n_patients) == ("training seeds and patients", 6, 12)


def test_fewer_than_three_seeds_are_held_fixed_and_the_scope_says_so():
    rng = np.random.default_rng(51)
    x, luck = rng.normal(size=12), 2 * rng.normal(size=2)
    got = jackknife(lambda kept: x[kept].mean() + luck, [np.arange(12)], rng=rng)
    theirs = stats.ttest_1samp(x, 0).confidence_interval()
    assert (got.low, got.high) == pytest.approx((theirs.low + luck.mean(), theirs.high + luck.mean()))
    assert (got.scope, got.n_seeds) == ("these trained models", 2)


def test_a_generator_does_not_differ_from_itself():
    rng, ids = np.random.default_rng(16), np.arange(50)
    real, made = rng.normal(size=(40, 6)), rng.normal(size=(5, 50, 6))
    got = jackknife_difference(frechet_distance, real, made, made, ids[:40] // 2, ids + 99, rng=rng)
    assert (got.value, got.corrected, got.standard_error, got.n_patients) == (0, 0, 0, 70)
    assert np.isnan([got.low, got.high]).all()


def test_patients_are_asked_for_every_row_and_seeds_for_both_generators():
    rng = np.random.default_rng(17)
    real, made = rng.normal(size=(40, 6)), rng.normal(size=(3, 50, 6))
    compare = partial(jackknife_difference, kernel_distance, real, rng=rng)
    with pytest.raises(UserError, match="source_patients"):
        compare(made, made, range(40), range(49))
    with pytest.raises(UserError, match="3 training seeds and generated_b 2"):
        compare(made, made[:2], range(40), range(50))


# --- coverage -------------------------------------------------------------------------------------------------------


def hits_of_intervals(
    distance, d, images, truth=None, seeds=1, luck=0.0, patients=(22, 12), groups=50, replications=REPLICATIONS
):
    """How often the interval of distance(a) - distance(b) covers the truth, and would if centred on the plain value.

    Real images are N(0, I); translations of a source image f by seed s are .9 f + .44 noise, then for a moved by
    .5 + luck z_s in a direction u, for b stretched by 1.3 and moved by 1 + luck z_s; all z_s and noise N(0, 1).
    patients: real, source. The truth is the mean over all seeds, which luck does not move for a Fréchet distance;
    where none is given it is taken from 4000 independent images of each.
    """
    rng, u = np.random.default_rng(18), np.full(d, d**-0.5)
    of_patients = np.arange(patients[0]).repeat(images), 1000 + np.arange(patients[1]).repeat(images)

    def draw(n_real, n_source, images, seeds):
        source = patients_features(rng, n_source, images, d)
        noise, z = rng.normal(size=(2, seeds, *source.shape)), luck * rng.normal(size=(2, seeds, 1, 1))
        a, b = np.sqrt(0.8) * source + np.sqrt(0.2) * noise
        return patients_features(rng, n_real, images, d), a + (0.5 + z[0]) * u, 1.3 * b + (1 + z[1]) * u

    if truth is None:
        real, (a,), (b,) = draw(4000, 4000, 1, 1)
        truth = distance(real, a) - distance(real, b)
    hits = np.zeros(2)
    for _ in range(replications):
        got = jackknife_difference(distance, *draw(*patients, images, seeds), *of_patients, rng=rng, groups=groups)
        hits += got.low <= truth <= got.high, abs(got.value - truth) <= got.high - got.corrected
    return hits / replications


def known(d):
    """The Fréchet distance of a less that of b above: two stretches, and the luck of either cancels in its mean."""
    return 0.25 - (1 + d * 0.3**2)


def least(coverage):
    """What a coverage may fall to in this many replications."""
    return coverage - 2.5 * np.sqrt(coverage * (1 - coverage) / REPLICATIONS)


def test_the_interval_of_a_frechet_difference_covers_the_known_one_because_its_bias_is_corrected():
    covered, plain = hits_of_intervals(frechet_distance, 16, 8, known(16))
    assert covered > least(0.95)
    assert plain < 0.85


def test_the_interval_of_a_kernel_difference_covers_about_nine_times_in_ten():
    # 0.89 over 300 other replications: with 12 patients its standard error is itself uncertain
    covered, _ = hits_of_intervals(kernel_distance, 6, 4)
    assert least(0.89) < covered < 0.99


def test_five_seeds_of_known_luck_are_covered_and_patients_alone_would_not_do(monkeypatch):
    covered, design = [], {"seeds": 5, "luck": 0.3, "patients": (60, 40), "groups": 8, "replications": 60}
    for minimum in (5, 6):
        monkeypatch.setattr("ecsupport.evaluation.feature_sets.MINIMUM_SEEDS", minimum)
        covered.append(hits_of_intervals(frechet_distance, 4, 3, known(4), **design)[0])
    assert covered[0] > 0.87  # over 300 replications: 0.94, and 0.78 for patients alone
    assert covered[1] < 0.8
