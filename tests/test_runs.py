"""Runs side by side: rows of the paper's tables, mean ROC curves, sensitivity at a specificity."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecsupport.evaluation.runs import LABELS, beside_published, mean_roc, metric_runs, sensitivity_at
from ecsupport.paper.published import load_numbers

TRUTH = np.repeat([1, 0], 50)


def scores(seed, shift=1.5):
    return np.clip(0.5 + 0.15 * (np.random.default_rng(seed).normal(size=100) + shift * (TRUTH - 0.5)), 0, 1)


def test_metrics_of_every_run_are_scikit_learns():
    runs = metric_runs(TRUTH, {"a": [scores(0), scores(1)]})
    auc = runs[runs["metric"] == "roc_auc"].set_index("run")["value"]
    assert auc.to_dict() == pytest.approx({1: roc_auc_score(TRUTH, scores(0)), 2: roc_auc_score(TRUTH, scores(1))})
    assert len(runs) == 2 * len(LABELS)


@pytest.mark.parametrize(
    ("table", "names"),
    [("table_3", {"ours": "LSNet", "other": "EfficientNet"}), ("table_4", {"ours": "LSNet (Full Model)"})],
)
def test_published_cells_are_found_whichever_way_the_table_lies(table, names):
    published = load_numbers()
    runs = metric_runs(TRUTH, {"ours": [scores(0), scores(1)], "unknown": [scores(2)]})
    beside = beside_published(runs, published[published["where"] == table], names).set_index(["arm", "metric"])
    ours = beside.xs("sensitivity", level="metric")
    assert ours["published_mean"].iloc[0] == 0.995
    values = runs.query("arm == 'ours' and metric == 'sensitivity'")["value"]
    assert ours["mean"].iloc[0] == pytest.approx(values.mean())
    assert ours["sd"].iloc[0] == pytest.approx(values.std(ddof=0))
    assert ours["runs"].iloc[0] == 2
    if len(names) > 1:
        assert np.isnan(ours["mean"].iloc[1])
        assert ours["published_mean"].iloc[1] == 0.9028
    once = beside_published(metric_runs(TRUTH, {"ours": [scores(0)]}), published, names)
    assert once["sd"].isna().all()


def test_the_mean_curve_of_equal_runs_is_the_curve():
    curve = mean_roc(TRUTH, {"a": [scores(0)] * 3})
    assert curve["sd"].max() == pytest.approx(0, abs=1e-12)
    area = np.trapezoid(curve["mean"], curve["false_positive_rate"])
    assert area == pytest.approx(roc_auc_score(TRUTH, scores(0)), abs=0.01)
    assert curve["mean"].is_monotonic_increasing
    assert np.isnan(mean_roc(TRUTH, {"a": [scores(0)]})["sd"]).all()
    curves = [mean_roc(TRUTH, {"a": [scores(s)]})["mean"] for s in range(3)]
    of_three = mean_roc(TRUTH, {"a": [scores(s) for s in range(3)]})["sd"]
    np.testing.assert_allclose(of_three, np.std(curves, axis=0))  # as in the tables: over the number of runs


def test_sensitivity_at_a_specificity_is_the_best_threshold():
    score = scores(4)
    wanted = max((score[TRUTH == 1] >= cut).mean() for cut in [*score, 2.0] if (score[TRUTH == 0] < cut).mean() >= 0.9)
    assert sensitivity_at(TRUTH, score, 0.9) == pytest.approx(wanted)
    assert sensitivity_at([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], 1.0) == 0.5
