"""Readers: the Obuchowski-Rockette analysis keeps its level, equals the pseudovalue one; Table 8's readers return."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from ecsupport.core.errors import UserError
from ecsupport.evaluation import mrmc
from ecsupport.evaluation.hierarchical import difference_table, hierarchical_difference
from ecsupport.evaluation.mrmc import analyse, jackknife, jackknife_covariance, obuchowski_rockette
from ecsupport.evaluation.reader_simulation import RoeMetz, call_probability, simulate_roe_metz, simulate_sonographers
from ecsupport.evaluation.readers import (
    MEAN,
    TABLE_8,
    against_model,
    group_summary,
    read_answers,
    reader_intervals,
    two_sided_p,
)
from ecsupport.paper.published import load_numbers, table

FIGURES = (mrmc.roc_auc, mrmc.sensitivity, mrmc.specificity)


@pytest.fixture(scope="module")
def published():
    """The ten readers of Table 8: sensitivity, specificity, roc_auc, indexed by "Junior #1" and so on."""
    rows = table(load_numbers(), "table_8")
    readers = rows[rows.index.str.contains("#")].xs("value", axis=1, level="part")
    return readers.set_axis(TABLE_8, axis=1)


def study(seed, n_readers=4, n_modalities=2, n_patients=24, images_per_patient=3):
    """Scores rounded so that some tie, patients of one class each: y, scores [n, r, t], patient."""
    rng = np.random.default_rng(seed)
    model = RoeMetz(tuple(1.2 + 0.3 * i for i in range(n_modalities)), 0.05, 0.05, 0.3, 0.1, 0.2)
    half = n_patients * images_per_patient // 2
    y, scores = simulate_roe_metz(model, half, half, n_readers, rng)
    return y, np.round(scores, 1), np.repeat(np.arange(n_patients), images_per_patient)


# --- the simulator of Roe and Metz


def test_roe_metz_scores_have_the_stated_variances_and_auc():
    model = RoeMetz((1.0, 2.0), reader=0.2, reader_modality=0.1, case=0.4, case_modality=0.2, case_reader=0.1)
    rng = np.random.default_rng(1)
    # one case a study and two readers: every study draws all effects anew
    drawn = np.stack([simulate_roe_metz(model, 1, 1, 2, rng)[1] for _ in range(20_000)])  # [study, truth, r, t]
    assert (simulate_roe_metz(model, 1, 1, 2, rng)[0] == [1, 0]).all()
    positive = drawn[:, 0].reshape(-1, 4)  # [study, r, t] -> reader 0 modality 0, r0 m1, r1 m0, r1 m1
    covariance = np.cov(positive.T)
    expected = {(0, 0): 1.3, (0, 1): 0.2 + 0.4 + 0.1, (0, 2): 0.4 + 0.2, (0, 3): 0.4}  # by the shared effects
    for cell, value in expected.items():
        assert covariance[cell] == pytest.approx(value, abs=4.5 * 1.3 * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(positive.mean(axis=0), [1, 2, 1, 2], atol=4.5 * np.sqrt(1.3 / 20_000))
    assert abs(np.corrcoef(drawn[:, 0, 0, 0], drawn[:, 1, 0, 0])[0, 1]) < 4.5 / np.sqrt(20_000)
    won = (drawn[:, 0] > drawn[:, 1]).mean(axis=(0, 1))  # P(positive scores above negative), per modality
    np.testing.assert_allclose(won, model.auc, atol=4.5 * 0.5 / np.sqrt(20_000))


def rejections(model, n_studies, seed):
    """p of both tests (random, fixed readers), theta and the random-readers intervals of many studies."""
    rng, p, theta, covered = np.random.default_rng(seed), [], [], []
    for _ in range(n_studies):
        result = obuchowski_rockette(*simulate_roe_metz(model, 30, 30, 4, rng))
        p.append(result.tests["p"].to_numpy())
        theta.append(result.theta.mean(axis=0))
        pair = result.differences.iloc[0]
        truth = model.auc[0] - model.auc[1]
        covered.append(pair["random_low"] <= truth <= pair["random_high"])
    return np.array(p), np.array(theta), np.array(covered)


def test_level_of_both_tests_and_recovery_of_the_true_auc():
    n = 350
    error = np.sqrt(0.05 * 0.95 / n)
    varied = RoeMetz((1.5, 1.5), 0.03, 0.03, 0.3, 0.1, 0.2)
    p, theta, _ = rejections(varied, n, 2)
    random, fixed = (p < 0.05).mean(axis=0)
    assert abs(random - 0.05) < 3 * error
    assert fixed > 0.05 + 5 * error  # taking these readers for all readers is wrong here: the check can fail
    standard_error = theta.std(axis=0, ddof=1) / np.sqrt(n)
    assert (np.abs(theta.mean(axis=0) - varied.auc) < 3 * standard_error).all()

    alike = RoeMetz((1.5, 1.5), 0.0, 0.0, 0.3, 0.1, 0.2)  # readers of equal skill: fixed readers are all readers
    p, _, _ = rejections(alike, n, 3)
    assert abs((p[:, 1] < 0.05).mean() - 0.05) < 3 * error
    assert (p[:, 0] < 0.05).mean() < 0.05 + 3 * error


def test_a_true_difference_is_found_and_covered():
    n = 250
    p, theta, covered = rejections(RoeMetz((2.4, 1.2), 0.02, 0.02, 0.3, 0.1, 0.2), n, 4)
    assert (p[:, 0] < 0.05).mean() > 0.8
    assert abs(covered.mean() - 0.95) < 3 * np.sqrt(0.05 * 0.95 / n)
    assert (theta[:, 0] > theta[:, 1]).mean() > 0.95


# --- the analysis


def test_jackknife_equals_scikit_learn_without_each_patient():
    y, scores, patient = study(5)
    theta, left_out = jackknife(y, scores, mrmc.roc_auc, patient)
    for j in range(4):
        for i in range(2):
            assert theta[j, i] == pytest.approx(roc_auc_score(y, scores[:, j, i]), abs=1e-12)
            for k in range(24):
                kept = patient != k
                assert left_out[k, j, i] == pytest.approx(roc_auc_score(y[kept], scores[kept, j, i]), abs=1e-12)


def pseudovalue_anova(theta, left_out):
    """Dorfman, Berbaum and Metz (Invest Radiol 1992): F, df (Hillis) for random, and F for fixed readers.

    A plain three-way analysis of variance of the pseudovalues, modality x reader x case, one value a cell.
    """
    k, r, t = left_out.shape
    y = k * theta - (k - 1) * left_out
    y += theta - y.mean(axis=0)  # centred on the figure of merit, as the estimate itself
    grand = y.mean()
    c, j, i = y.mean(axis=(1, 2)), y.mean(axis=(0, 2)), y.mean(axis=(0, 1))
    ci, ji, cj = y.mean(axis=1), y.mean(axis=0), y.mean(axis=2)
    ms_t = k * r * ((i - grand) ** 2).sum() / (t - 1)
    ms_tr = k * ((ji - j[:, None] - i + grand) ** 2).sum() / ((t - 1) * (r - 1))
    ms_tc = r * ((ci - c[:, None] - i + grand) ** 2).sum() / ((t - 1) * (k - 1))
    effects = cj[:, :, None] + ci[:, None, :] + ji[None] - c[:, None, None] - j[None, :, None] - i + grand
    ms_trc = ((y - effects) ** 2).sum() / ((t - 1) * (r - 1) * (k - 1))
    error = ms_tr + max(ms_tc - ms_trc, 0)
    assume(ms_tr > 1e-9)  # equal counts in every reading leave no variance between readers
    return ms_t / error, error**2 / (ms_tr**2 / ((t - 1) * (r - 1))), ms_t / ms_tc


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("clustered", [False, True])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_readers=st.integers(2, 5), n_modalities=st.integers(2, 3))
def test_agrees_with_the_pseudovalue_analysis(figure, clustered, seed, n_readers, n_modalities):
    y, scores, patient = study(seed, n_readers, n_modalities)
    if clustered:  # some patients with images of both classes, and of unequal size
        patient = np.random.default_rng(seed).permutation(np.minimum(patient, 20))
    patient = patient if clustered else None
    f, df, f_fixed = pseudovalue_anova(*jackknife(y, scores, figure, patient))
    result = obuchowski_rockette(y, scores, figure, patient_id=patient)
    random, fixed = result.tests.loc["random readers"], result.tests.loc["fixed readers"]
    assert random["f"] == pytest.approx(f, rel=1e-9, abs=1e-12)
    assert random["df2"] == pytest.approx(df, rel=1e-9)
    assert random["p"] == pytest.approx(stats.f.sf(f, n_modalities - 1, df), rel=1e-9)
    assert fixed["f"] == pytest.approx(f_fixed, rel=1e-9, abs=1e-12)
    assert fixed["p"] == pytest.approx(stats.chi2.sf((n_modalities - 1) * f_fixed, n_modalities - 1), rel=1e-9)


def test_two_modalities_one_test():
    y, scores, _ = study(6)
    result = obuchowski_rockette(y, scores)
    pair = result.differences.iloc[0]
    assert pair["random_p"] == pytest.approx(result.tests.loc["random readers", "p"], abs=1e-12)
    assert pair["fixed_p"] == pytest.approx(result.tests.loc["fixed readers", "p"], abs=1e-12)
    theta, left_out = jackknife(y, scores)
    difference = (left_out[..., 0] - left_out[..., 1]).mean(axis=1)
    k = len(difference)
    assert pair["fixed_se"] ** 2 == pytest.approx((k - 1) ** 2 / k * difference.var(ddof=1), rel=1e-9)
    assert pair["difference"] == pytest.approx((theta[:, 0] - theta[:, 1]).mean())


def test_without_case_error_it_is_the_paired_t_test_over_readers():
    theta = np.random.default_rng(7).uniform(0.6, 0.9, size=(6, 2))
    result = analyse(theta, np.zeros((6, 2, 6, 2)))
    expected = stats.ttest_rel(theta[:, 0], theta[:, 1])
    pair = result.differences.iloc[0]
    assert pair["random_df"] == pytest.approx(5)
    assert pair["random_p"] == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose([pair["random_low"], pair["random_high"]], interval, rtol=1e-9)
    mean = stats.ttest_1samp(theta[:, 1], 0).confidence_interval(0.95)
    np.testing.assert_allclose(result.means.loc[1, ["random_low", "random_high"]].astype(float), mean, rtol=1e-9)


def test_standalone_model_by_the_one_treatment_formula():
    y, scores, patient = study(8, n_readers=5)
    answers, model = scores[:, :, 0], scores[:, 0, 1]
    got = mrmc.readers_against_model(y, answers, model, patient_id=patient).differences.iloc[0]
    both = np.concatenate([model[:, None], answers], axis=1)[:, :, None]
    theta, left_out = jackknife(y, both, mrmc.roc_auc, patient)
    d, covariance = (theta[0] - theta[1:])[:, 0], jackknife_covariance(left_out[:, :1] - left_out[:, 1:])[:, 0, :, 0]
    cov2 = covariance[~np.eye(5, dtype=bool)].mean()
    ms_r, error = d.var(ddof=1), d.var(ddof=1) + max(5 * cov2, 0)
    df = error**2 / (ms_r**2 / 4)
    assert got["difference"] == pytest.approx(d.mean(), abs=1e-12)
    assert got["random_se"] == pytest.approx(np.sqrt(error / 5), rel=1e-9)
    assert got["random_df"] == pytest.approx(df, rel=1e-9)
    assert got["random_p"] == pytest.approx(2 * stats.t.sf(abs(d.mean()) / np.sqrt(error / 5), df), rel=1e-9)
    assert got["fixed_se"] == pytest.approx(np.sqrt(covariance.mean()), rel=1e-9)


def test_limits_where_nothing_varies():
    y = np.array([1, 1, 1, 0, 0, 0])
    right = np.repeat(y[:, None], 3, axis=1)
    perfect = mrmc.readers_against_model(y, right, y)
    pair = perfect.differences.iloc[0]
    assert (perfect.theta == 1).all()
    assert pair[["difference", "random_se", "random_low", "random_high", "random_p", "fixed_p"]].tolist() == [0] * 4 + [
        1,
        1,
    ]
    beaten = mrmc.readers_against_model(y, 1 - right, y).differences.iloc[0]
    assert beaten[["difference", "random_low", "random_p", "fixed_p"]].tolist() == [1, 1, 0, 0]
    y, scores, _ = study(9)
    same = obuchowski_rockette(y, np.repeat(scores[:, :, :1], 2, axis=2))  # a modality against itself
    assert same.differences.loc[0, ["difference", "random_se", "random_p"]].tolist() == [0, 0, 1]
    one = obuchowski_rockette(y, scores[:, :, :1])
    assert one.tests.empty
    two = obuchowski_rockette(y, scores).means.iloc[0]
    assert one.means.iloc[0].to_dict() == pytest.approx(two.to_dict())  # a modality's own mean needs no other


def test_an_own_figure_of_merit():
    y, scores, _ = study(10)

    def youden(y_true, score, weight):
        return mrmc.sensitivity(y_true, score, weight) + mrmc.specificity(y_true, score, weight) - 1

    calls = (scores > 0.5).astype(int)
    by_youden, by_auc = obuchowski_rockette(y, calls, youden), obuchowski_rockette(y, calls)
    np.testing.assert_allclose(by_youden.theta, 2 * by_auc.theta - 1)  # one operating point: AUC = (J + 1) / 2
    pd.testing.assert_frame_equal(by_youden.tests, by_auc.tests)


# --- simulated sonographers


def test_expected_calls_are_the_published_operating_points(published):
    rng = np.random.default_rng(11)
    y = rng.integers(2, size=501)
    for latent in (rng.normal(size=501), np.where(y, rng.random(501), 0.0), np.zeros(501)):
        for share in (0.0, 0.4, 0.95):
            p = call_probability(y, latent, published["sensitivity"], published["specificity"], share)
            np.testing.assert_allclose(p[y == 1].mean(axis=0), published["sensitivity"], atol=1e-10)
            np.testing.assert_allclose(1 - p[y == 0].mean(axis=0), published["specificity"], atol=1e-10)
    p = call_probability(y, latent := np.arange(501.0), [0.7, 1.0], [0.8, 0.0])
    assert (np.diff(p[y == 1, 0]) > 0).all() and (np.diff(p[y == 0, 0]) > 0).all()  # more invasion, more calls
    assert (p[:, 1] == 1).all()
    same = call_probability(y, np.exp(latent / 100), [0.7, 1.0], [0.8, 0.0])
    np.testing.assert_allclose(p, same)  # only the order of the latent counts


def test_simulated_sonographers_average_to_table_8(published):
    n, per_patient = 60_000, 3
    rng = np.random.default_rng(12)
    y = np.repeat(np.arange(n // per_patient) % 2, per_patient)
    patient = np.repeat(np.arange(n // per_patient), per_patient)
    calls = simulate_sonographers(
        y, rng.normal(size=n), patient, published["sensitivity"], published["specificity"], rng=rng
    )
    for truth, rate in ((1, published["sensitivity"]), (0, 1 - published["specificity"])):
        of_patient = calls[y == truth].reshape(-1, per_patient, 10).mean(axis=1)
        error = of_patient.std(axis=0) / np.sqrt(len(of_patient))
        assert (np.abs(of_patient.mean(axis=0) - rate) < 4 * error).all()
    area = (calls[y == 1].mean(axis=0) + 1 - calls[y == 0].mean(axis=0)) / 2
    np.testing.assert_allclose(area, published["roc_auc"], atol=0.01)


def test_readers_agree_on_what_is_hard_and_patients_on_themselves():
    n = 40_000
    y, patient = np.ones(n, dtype=int), np.repeat(np.arange(n // 2), 2)

    def correlations(image_share, patient_share):
        rng = np.random.default_rng(13)
        calls = simulate_sonographers(
            y, rng.normal(size=n), patient, [0.5, 0.5], [0.5, 0.5], rng=rng,
            image_share=image_share, patient_share=patient_share,
        )  # fmt: skip
        readers = np.corrcoef(calls.T)[0, 1]
        within = np.corrcoef(calls[::2, 0], calls[1::2, 0])[0, 1]
        return readers, within

    error = 4.5 / np.sqrt(n / 2)
    for image_share, patient_share in ((0.0, 0.0), (0.4, 0.2), (0.1, 0.6)):
        # a median cut of two normals of correlation rho correlates 2 / pi asin(rho) (Sheppard 1899)
        expected = 2 / np.pi * np.arcsin([image_share + patient_share, patient_share])
        assert correlations(image_share, patient_share) == pytest.approx(expected, abs=error)


# --- intervals, groups, model


def answers_of(seed, n_patients=60, n_readers=3, patient_share=0.5):
    rng = np.random.default_rng(seed)
    y, patient = np.repeat(np.arange(n_patients) % 2, 4), np.repeat(np.arange(n_patients), 4)
    calls = simulate_sonographers(
        y, rng.normal(size=len(y)), patient, [0.8] * n_readers, [0.7] * n_readers, rng=rng, patient_share=patient_share
    )
    score = np.clip(0.5 + 0.4 * (y - 0.5) + 0.2 * rng.normal(size=len(y)), 0, 1)
    return y, calls, patient, score


def test_intervals_of_a_reader():
    y, calls, patient, _ = answers_of(14, n_patients=200)
    frame = pd.DataFrame(calls, columns=["Ada", "Ben", "Cyd"])
    got = reader_intervals(y, frame, patient, rng=np.random.default_rng(0), n_resamples=4000)
    assert got["reader"].unique().tolist() == ["Ada", "Ben", "Cyd"]
    got = got.set_index(["reader", "metric"])
    for name, column in frame.items():
        rows = got.loc[name]
        hits = (column[y == 1] == 1).sum(), (column[y == 0] == 0).sum()
        assert rows["estimate"].tolist() == pytest.approx([hits[0] / 400, hits[1] / 400, sum(hits) / 800])
        exact = stats.binomtest(int(hits[0]), 400).proportion_ci(method="wilson")  # an independent Wilson interval
        assert rows.loc["sensitivity", ["wilson_low", "wilson_high"]].tolist() == pytest.approx(list(exact))
    assert got.xs("roc_auc", level="metric")[["wilson_low", "wilson_high"]].isna().all(axis=None)
    width = {k: (got[f"{k}_high"] - got[f"{k}_low"]).groupby("metric").mean() for k in ("wilson", "image", "patient")}
    assert (width["patient"] > 1.15 * width["image"]).all()  # images of a patient resemble each other here
    for metric in ("sensitivity", "specificity"):
        assert width["image"][metric] == pytest.approx(width["wilson"][metric], rel=0.1)


def test_group_rows_of_table_8_come_back(published):
    got = group_summary(published, [name.split()[0] for name in published.index])
    printed = table(load_numbers(), "table_8")
    for group in ("Junior", "Senior", "Overall"):
        for metric, column in zip(TABLE_8, printed.columns.unique("column"), strict=True):
            rounding = 0.005 if metric != "roc_auc" else 0.0005
            cell, ours = printed.loc[group, column], got.loc[group, metric]
            assert ours["mean"] == pytest.approx(cell["mean"], abs=rounding + 0.0005)
            assert ours["sd"] == pytest.approx(cell["sd"], abs=rounding * np.sqrt(5 / 4) + 0.0005)
    assert got["n_readers"].tolist() == [5] * 6 + [10] * 3
    assert np.isnan(group_summary(published.iloc[:1], ["Junior"]).loc[("Junior", "roc_auc"), "sd"])


def test_model_against_readers():
    y, calls, patient, score = answers_of(15)
    got = against_model(y, calls, score, patient, rng=np.random.default_rng(1), n_resamples=6000)
    single, mean = got[got["reader"] == "2"].set_index("metric"), got[got["reader"] == MEAN].set_index("metric")
    other = difference_table(hierarchical_difference(y, [score], [calls[:, 1]], patient)).loc[list(TABLE_8)]
    np.testing.assert_allclose(single["difference"], other["estimate"])
    np.testing.assert_allclose(single[["low", "high"]], other[["low", "high"]], atol=0.01)
    each = got[got["reader"] != MEAN].groupby("metric")["difference"].mean()
    np.testing.assert_allclose(mean["difference"], each[list(TABLE_8)])
    # the mean's interval against the analysis of variance: two routes to readers and patients as random
    result = mrmc.readers_against_model(y, calls, score, patient_id=patient).differences.iloc[0]
    width = mean.loc["roc_auc", "high"] - mean.loc["roc_auc", "low"]
    assert result["difference"] == pytest.approx(mean.loc["roc_auc", "difference"], abs=1e-12)
    assert width == pytest.approx(result["random_high"] - result["random_low"], rel=0.25)
    one = against_model(y, calls[:, :1], score, patient, rng=np.random.default_rng(1), n_resamples=500)
    np.testing.assert_allclose(one.iloc[:3, 2:], one.iloc[3:, 2:])  # of one reader she is the mean


def test_two_sided_p_is_uniform_under_the_null():
    rng = np.random.default_rng(16)
    p = [two_sided_p(rng.normal(rng.normal(), 1, size=400)) for _ in range(2000)]
    assert stats.kstest(p, "uniform").pvalue > 1e-4
    assert two_sided_p(np.ones(99)) == 0.02 and two_sided_p(np.zeros(99)) == 1


# --- a person's own answers

GOOD = "reader,image,answer\nAda,a,1\nAda,b,0\nBen,b,0.25\n\nBen,a,1\n"


def written(tmp_path, text):
    path = tmp_path / "answers.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_answers_are_read_in_the_order_of_the_cases(tmp_path):
    got = read_answers(written(tmp_path, GOOD), ["b", "a"])
    pd.testing.assert_frame_equal(
        got, pd.DataFrame({"Ada": [0.0, 1.0], "Ben": [0.25, 1.0]}, index=pd.Index(["b", "a"], name="image"))
    )
    shuffled = "\ufeff" + "answer,reader,image\r\n1, Ada ,a\r\n0,Ben,b\r\n0,Ada,b\r\n1,Ben,a\r\n"  # as Excel saves it
    assert read_answers(written(tmp_path, shuffled), ["a", "b"]).to_numpy().tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Ben,a,yes", r"answers\.csv, row 4, answer: answer is 'yes'. Write 1 for positive and 0 for negative"),
        ("Ben,a,nan", "row 4, answer: answer is 'nan'"),
        ("Ben,a,5", "row 4, answer: answer is '5'"),
        ("Ben,a,", "row 4, answer: answer is ''"),
        ("Ben,c,1", "row 4, image: image 'c' is not among the cases. Use the image names of the test set, such as 'a'"),
        ("Ben,b,1", "row 4, image: reader 'Ben' has answered image 'b' before, in row 3. Keep one"),
        (",a,1", "row 4, reader: reader is empty"),
        ("Ben,,1", "row 4, image: image is empty"),
        ("Ben,a,1,1", "row 4: 4 cells under a header of 3"),
        ("ada,a,1", "row 4, reader: 'ada' is 'Ada' of row 1 in another spelling"),
        ("", r"row 3: missing: after it reader 'Ben' has no answer to image 'a'\. Add the rows 'Ben,<image>"),
    ],
)
def test_a_fault_in_an_answer_is_named(tmp_path, line, message):
    text = f"reader,image,answer\nAda,a,1\nAda,b,0\nBen,b,0\n{line}\n"
    with pytest.raises(UserError, match=message):
        read_answers(written(tmp_path, text), ["a", "b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header is missing or blank. The first line names: reader, image, answer"),
        ("reader;image;answer\nAda;a;1\n", "columns are separated by ';'. Save it with commas"),
        ("reader,image\nAda,a\n", "column 'answer' is missing. The header needs: reader, image, answer"),
        ("reader,image,answer,time\nAda,a,1,9\n", "column 'time' is unknown. Remove it$"),
        ("Ada,a,1\n", "the first line is no header"),
    ],
)
def test_a_fault_in_the_header_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_answers(written(tmp_path, text), ["a"])


def test_all_faults_are_named_at_once(tmp_path):
    text = "reader,image,answer\nAda,a,yes\nAda,c,1\nBen,a,1\nBen,a,0\n"
    with pytest.raises(UserError) as caught:
        read_answers(written(tmp_path, text), ["a", "b"])
    assert [line.split(", ", 1)[1].split(":")[0] for line in str(caught.value).splitlines()] == [
        "row 1, answer",
        "row 2, image",
        "row 2",
        "row 4, image",
        "row 4",
    ]


def test_numbers_as_names_stay_apart(tmp_path):
    """12.1 and 12.10 are two images, 007 and 7 two readers, and NA is one."""
    text = "reader,image,answer\n007,12.1,1\n007,12.10,0\n7,12.1,0\n7,12.10,0\nNA,12.1,1\nNA,12.10,1\n"
    got = read_answers(written(tmp_path, text), ["12.1", "12.10"])
    assert list(got.columns) == ["007", "7", "NA"] and got.index.tolist() == ["12.1", "12.10"]
    assert got.to_numpy().tolist() == [[1, 0, 1], [0, 0, 1]]


def test_a_file_without_answers(tmp_path):
    with pytest.raises(UserError, match="row 1: missing: there are no answers"):
        read_answers(written(tmp_path, "reader,image,answer\n"), ["a"])
    with pytest.raises(UserError, match="absent.csv cannot be read"):
        read_answers(tmp_path / "absent.csv", ["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": np.full((8, 2), 2)}, "answers of reader '1', row 1: the value is 2.0"),
        ({"answers": np.full((8, 2), np.nan)}, "answers of reader '1', row 1: the value is nan"),
        ({"answers": np.zeros(8)}, r"answers: has shape \(8,\)"),
        ({"answers": np.zeros((7, 2))}, "answers, row 8: missing"),
        ({"answers": np.full((8, 2), "x")}, "answers: hold something that is no number"),
        ({"patient_id": ["p"] * 8}, "only one patient"),
    ],
)
def test_faults_in_the_arrays(change, message):
    arguments = {"y_true": [0, 1] * 4, "answers": np.zeros((8, 2)), "patient_id": list("aabbccdd")} | change
    with pytest.raises(UserError, match=message):
        reader_intervals(**arguments, rng=np.random.default_rng(0), n_resamples=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((8, 2))}, r"scores: has shape \(8, 2\)"),
        ({"scores": np.zeros((8, 1, 2))}, "one reader only"),
        ({"scores": np.where(np.arange(32).reshape(8, 2, 2) == 13, np.inf, 0)}, "reader 0, modality 1, row 4"),
        ({"y_true": [1] * 8}, "undefined. Give at least two patients of each class"),
        ({"y_true": [1] + [0] * 7}, "undefined without case 1"),
        ({"patient_id": list("aaaaabbb"), "y_true": [0, 1, 1, 1, 1, 0, 0, 0]}, "undefined without patient 'a'"),
        ({"patient_id": ["a"] * 8}, "only one patient"),
        ({"patient_id": ["a"] * 7 + [None]}, "patient_id, row 8: is empty"),
        ({"level": 95}, "level: 95 is not between 0 and 1"),
    ],
)
def test_faults_in_a_study(change, message):
    arguments = {"y_true": [0, 1] * 4, "scores": np.arange(32.0).reshape(8, 2, 2)} | change
    with pytest.raises(UserError, match=message):
        obuchowski_rockette(**arguments)


def test_faults_in_a_simulation():
    rng = np.random.default_rng(0)
    for wrong in ({"separation": ()}, {"separation": (1.0,), "reader": -1}, {"separation": (1.0,), "case": 1.1}):
        with pytest.raises(UserError):
            RoeMetz(**wrong)
    with pytest.raises(UserError, match="at least one positive"):
        simulate_roe_metz(RoeMetz((1.0,)), 0, 5, 2, rng)
    y, latent, patient = [0, 1], [0.0, 1.0], ["a", "b"]
    for sensitivity, specificity in (([80], [0.9]), ([0.8], [np.nan]), ([0.8, 0.9], [0.9]), (0.8, 0.9)):
        with pytest.raises(UserError, match=r"one proportion in \[0, 1\] per reader"):
            simulate_sonographers(y, latent, patient, sensitivity, specificity, rng=rng)
    with pytest.raises(UserError, match="at most 1"):
        simulate_sonographers(y, latent, patient, [0.8], [0.9], rng=rng, patient_share=0.7)
    with pytest.raises(UserError, match=r"image_share: 1 is not in \[0, 1\)"):
        call_probability(y, latent, [0.8], [0.9], 1)
    with pytest.raises(UserError, match="score, row 2: the value is nan"):
        call_probability(y, [0.0, np.nan], [0.8], [0.9])
