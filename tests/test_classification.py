"""The six metrics: equal to scikit-learn and to their definitions, undefined by stated rule, strict about input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ecsupport.core.errors import UserError
from ecsupport.evaluation.classification import (
    METRICS,
    Counts,
    check_images,
    count_calls,
    counts_from_rates,
    make_cells,
    metrics,
    metrics_from_counts,
    metrics_of_weights,
)


@st.composite
def image_sets(draw):
    """Labels, scores on a coarse grid (so that ties and scores on the threshold abound), weights, a threshold."""
    n = draw(st.integers(1, 40))

    def column(values):
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    labels = column(st.integers(0, 1))
    scores = column(st.integers(0, 8)) / 8 if draw(st.booleans()) else column(st.floats(-5, 5))
    weights = column(st.floats(0.01, 9))
    return labels, scores, weights, draw(st.sampled_from([0.25, 0.5, 0.51, 9.0]))


def scikit_learn(y, score, threshold, weight):
    """The same six from scikit-learn, its 0/0 set to NaN."""
    called = score >= threshold
    options = {"sample_weight": weight, "zero_division": np.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": reference.accuracy_score(y, called, sample_weight=weight),
            "sensitivity": reference.recall_score(y, called, **options),
            "specificity": reference.recall_score(y, called, pos_label=0, **options),
            "precision": reference.precision_score(y, called, **options),
            "f1": reference.f1_score(y, called, **options),
            "roc_auc": reference.roc_auc_score(y, score, sample_weight=weight) if np.ptp(y) else np.nan,
        }


@settings(deadline=None)
@given(image_sets(), st.booleans())
def test_equals_scikit_learn(images, weighted):
    y, score, weight, threshold = images
    weight = weight if weighted else None
    ours, theirs = metrics(y, score, threshold, weight), scikit_learn(y, score, threshold, weight)
    assert tuple(ours) == METRICS
    for name in METRICS:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-12, nan_ok=True), name


@settings(deadline=None)
@given(image_sets())
def test_auc_is_the_share_of_pairs_ranked_rightly_ties_half(images):
    y, score, weight, threshold = images
    positive, negative = y == 1, y == 0
    higher = score[positive][:, None] > score[negative][None, :]  # (n positive, n negative)
    tied = score[positive][:, None] == score[negative][None, :]
    pair_weight = weight[positive][:, None] * weight[negative][None, :]
    expected = ((higher + tied / 2) * pair_weight).sum() / pair_weight.sum() if pair_weight.size else np.nan
    assert metrics(y, score, threshold, weight)["roc_auc"] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(image_sets())
def test_auc_knows_ranks_only_and_reverses_with_the_score(images):
    y, score, weight, _ = images
    auc = metrics(y, score, weight=weight)["roc_auc"]
    ranks = np.unique(score, return_inverse=True)[1] ** 3
    assert metrics(y, ranks, weight=weight)["roc_auc"] == pytest.approx(auc, abs=1e-12, nan_ok=True)
    assert metrics(y, -score, weight=weight)["roc_auc"] == pytest.approx(1 - auc, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(image_sets(), st.data())
def test_an_image_of_weight_k_is_k_images(images, data):
    y, score, _, threshold = images
    copies = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(y), max_size=len(y))))
    if copies.sum():
        repeated = metrics(np.repeat(y, copies), np.repeat(score, copies), threshold)
        weighted = metrics(y, score, threshold, copies)
        assert np.array_equal(list(weighted.values()), list(repeated.values()), equal_nan=True)


@settings(deadline=None)
@given(image_sets(), st.integers(0, 2**32 - 1))
def test_many_weightings_at_once_are_each_on_its_own(images, seed):
    y, score, _, threshold = images
    weights = np.random.default_rng(seed).integers(0, 4, size=(5, len(y)))
    together = metrics_of_weights(make_cells(y, score, threshold), weights)
    for row, weight in zip(together, weights, strict=True):
        assert np.array_equal(row, list(metrics(y, score, threshold, weight).values()), equal_nan=True)


@settings(deadline=None)
@given(image_sets())
def test_the_five_metrics_need_only_the_table_of_counts(images):
    y, score, _, threshold = images
    counts = count_calls(y, score, threshold)
    assert counts.tp + counts.fp + counts.fn + counts.tn == len(y)
    whole = metrics(y, score, threshold)
    for name, value in metrics_from_counts(counts).items():
        assert value == pytest.approx(whole[name], abs=0, nan_ok=True)


def test_cells_grow_with_the_disorder_of_the_scores_not_with_the_images():
    y = np.repeat([0, 1], 1000)
    separated = make_cells(y, np.linspace(0, 1, 2000), 0.5)
    assert separated.matrix.shape[0] == 2 * 2  # two runs: all negatives, all positives
    threshold_inside = make_cells(y, np.linspace(0, 1, 2000), 0.75)
    assert threshold_inside.matrix.shape[0] == 2 * 3  # the positives split where the calls change
    interleaved = make_cells(np.arange(2000) % 2, np.linspace(0, 1, 2000), 0.5)
    assert interleaved.matrix.shape[0] == 2 * 2000


def test_a_score_on_the_threshold_is_called_positive():
    assert count_calls([1, 0, 1, 0], [0.5, 0.5, 0.4999, 0.4999]) == Counts(tp=1, fp=1, fn=1, tn=1)
    assert metrics([1, 0], [0.5, 0.4999])["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("y", "score", "undefined"),
    [
        ([0, 0], [0.1, 0.2], {"sensitivity", "precision", "f1", "roc_auc"}),
        ([0, 0], [0.1, 0.9], {"sensitivity", "roc_auc"}),  # f1 is 0: there is a false call
        ([1, 1], [0.1, 0.9], {"specificity", "roc_auc"}),
        ([1, 1], [0.1, 0.2], {"specificity", "precision", "roc_auc"}),
        ([0, 1], [0.1, 0.2], {"precision"}),
        ([0, 1], [0.9, 0.1], set()),
    ],
)
def test_zero_over_zero_is_undefined_and_nothing_else_is(y, score, undefined):
    assert {name for name, value in metrics(y, score).items() if np.isnan(value)} == undefined


def test_without_any_weight_everything_is_undefined():
    assert np.isnan(list(metrics([0, 1], [0.1, 0.9], weight=[0, 0]).values())).all()


def test_equal_scores_give_an_auc_of_one_half_exactly():
    assert metrics([0, 1, 1, 0, 1], [0.7] * 5)["roc_auc"] == 0.5


@pytest.mark.parametrize(
    ("y", "score", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, 0.2], "score, row 2: the value is nan"),
        ([0, 1, 1], [0.1, 0.3, np.inf], "score, row 3: the value is inf"),
        ([0, 2, 1], [0.1, 0.3, 0.4], "y_true, row 2: the value is 2"),
        ([0, -1, 1], [0.1, 0.3, 0.4], "y_true, row 2: the value is -1"),
        ([0, np.nan, 1], [0.1, 0.3, 0.4], "y_true, row 2: the value is nan"),
        ([0, 1, None], [0.1, 0.3, 0.4], "y_true, row 3: None is not a number"),
        (["0", "1"], [0.1, 0.3], "y_true, row 1: .*'0'.* is not a number"),
        (pd.array([0, 1, None], dtype="Int64"), [0.1, 0.3, 0.4], "y_true, row 3: the value is nan"),
        ([0, 1], ["0.1", "high"], "score, row 1: .* is not a number"),
        ([0, 1, 1], [0.1, 0.3], "score, row 3: missing: y_true has 3 values and score has 2"),
        ([0, 1], [0.1, 0.3, 0.4], "y_true, row 3: missing"),
        ([], [], "no rows"),
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], r"score: has shape \(2, 2\)"),
        (1, 0.5, r"y_true: has shape \(\)"),
    ],
)
def test_bad_images_are_refused_by_row(y, score, message):
    with pytest.raises(UserError, match=message):
        metrics(y, score)


def test_columns_of_two_frames_are_not_paired_by_position_when_their_index_differs():
    y = pd.Series([0, 1, 1], index=["a", "b", "c"])
    score = pd.Series([0.1, 0.8, 0.9], index=["a", "c", "b"])
    with pytest.raises(UserError, match=r"y_true, row 2: index 'b' stands beside 'c' of score"):
        metrics(y, score)
    assert metrics(y, score.reindex(y.index))["roc_auc"] == 1.0


@pytest.mark.parametrize(("weight", "message"), [([1, -1], "row 2"), ([np.nan, 1], "row 1"), ([1], "row 2: missing")])
def test_bad_weights_are_refused_by_row(weight, message):
    with pytest.raises(UserError, match=f"weight, {message}"):
        metrics([0, 1], [0.1, 0.9], weight=weight)


def test_a_threshold_that_calls_nobody_by_accident_is_refused():
    with pytest.raises(UserError, match="threshold: is NaN"):
        metrics([0, 1], [0.1, 0.9], threshold=np.nan)


def test_booleans_and_frames_are_labels_too():
    frame = pd.DataFrame({"invasion": [True, False, True], "score": [0.9, 0.1, 0.4]})
    labels, scores = check_images(frame["invasion"], frame["score"])
    assert labels.tolist() == [1, 0, 1]
    assert scores.dtype == np.float64
    assert metrics(frame["invasion"], frame["score"])["sensitivity"] == 0.5


def test_counts_may_be_arrays_but_never_negative():
    table = Counts(tp=np.array([1, 0]), fp=np.array([1, 0]), fn=np.array([0, 2]), tn=np.array([2, 2]))
    assert metrics_from_counts(table)["sensitivity"].tolist() == [1.0, 0.0]
    with pytest.raises(UserError, match="fn is negative"):
        Counts(tp=1, fp=1, fn=-1, tn=2)


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_counts_come_back_from_their_rates_printed_to_four_digits(n_positive, n_negative, data):
    tp, tn = data.draw(st.integers(0, n_positive)), data.draw(st.integers(0, n_negative))
    printed = round(tp / n_positive, 4), round(tn / n_negative, 4)
    counts, residual = counts_from_rates(*printed, n_positive, n_negative)
    assert counts == Counts(tp=tp, fp=n_negative - tn, fn=n_positive - tp, tn=tn)
    assert max(map(abs, residual.values())) <= 0.5e-4 + 1e-12


def test_residual_shows_a_printed_rate_that_no_count_gives():
    counts, residual = counts_from_rates(0.9940, 0.9671, 336, 336)  # Table 6: a mean over resamples, not a rate
    assert (counts.tp, counts.tn) == (334, 325)
    assert abs(residual["sensitivity"]) <= 0.5e-4
    assert residual["specificity"] == pytest.approx(0.9671 - 325 / 336)
    assert abs(residual["specificity"]) > 0.5e-4


@pytest.mark.parametrize(
    ("arguments", "message"), [((99.4, 0.9, 9, 9), "sensitivity"), ((0.9, 0.9, 9, 0), "n_negative")]
)
def test_impossible_rates_and_sizes_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        counts_from_rates(*arguments)
