"""Many readers, many cases: the Obuchowski-Rockette analysis, for readers against a model (Table 8, Discussion).

Reader j of r reads every case with each modality i of t; theta_ij is her figure of merit. The model is
    theta_ij = mu + tau_i + R_j + (tau R)_ij + e_ij,
where the errors e_ij come from the cases that all readings share and are therefore correlated:
    Var   the variance of e_ij
    Cov1  same reader, different modalities      Cov2  different readers, same modality
    Cov3  different readers, different modalities
(Obuchowski and Rockette, Commun Stat Simul Comput 1995;24:285-308). The covariances are estimated by the jackknife
over cases, or over patients where a patient has several. Degrees of freedom: Hillis, Stat Med 2007;26:596-619.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from ecsupport.core.errors import UserError, row_error
from ecsupport.evaluation.classification import METRICS, check_images, make_cells, metrics_of_weights, same_rows

_ROUNDING = 1e-12  # relative to figures of merit, which are of the order of 1
# figure(y_true (n,), score (n,), weight (m, n)) -> (m,): a figure of merit under m weightings of the same cases
Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def roc_auc(y_true: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """ROC AUC, ties counted half: for calls of 0 and 1 that is (sensitivity + specificity) / 2. Shapes: `Figure`."""
    return _metric("roc_auc", y_true, score, weight)


def sensitivity(y_true: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sensitivity of calls, positive where score >= 0.5. Shapes: `Figure`."""
    return _metric("sensitivity", y_true, score, weight)


def specificity(y_true: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Specificity of calls, positive where score >= 0.5. Shapes: `Figure`."""
    return _metric("specificity", y_true, score, weight)


def _metric(name: str, y_true: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return metrics_of_weights(make_cells(y_true, score, 0.5), weight)[:, METRICS.index(name)]


@dataclass(frozen=True)
class MRMC:
    """Result of an Obuchowski-Rockette analysis; modalities and readers are numbered from 0.

    theta: [n_readers, n_modalities] figures of merit
    components: ms_t, ms_r, ms_tr (mean squares) and var, cov1, cov2, cov3; NaN where there is one modality only
    means: per modality mean, then random_se, random_df, random_low, random_high, fixed_se, fixed_low, fixed_high
    differences: per pair first, second, difference (first - second), random_ as above with random_p, fixed_ likewise
    tests: all modalities equal, index "random readers" and "fixed readers": f, df1, df2, p; empty for one modality
    """

    theta: np.ndarray
    components: pd.Series
    means: pd.DataFrame
    differences: pd.DataFrame
    tests: pd.DataFrame


def jackknife(
    y_true: ArrayLike, scores: ArrayLike, figure: Figure = roc_auc, patient_id: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Figures of merit of all readings, and the same with each case, or each patient, left out.

    y_true: (n_cases,) 0 or 1;  scores: [n_cases, n_readers, n_modalities] finite
    patient_id: (n_cases,) any hashable; default: every case is a patient of her own
    Returns theta [n_readers, n_modalities] and left_out [n_patients, n_readers, n_modalities].
    Raises UserError for another shape, a bad label or score (named), an empty patient_id, fewer than two patients,
    or a patient without whom the figure is undefined.
    """
    array = np.asarray(scores)
    if array.ndim != 3 or 0 in array.shape:
        raise UserError(f"scores: has shape {array.shape}. Give [n_cases, n_readers, n_modalities].")
    same_rows("y_true", y_true, "scores", array)
    labels, _ = check_images(y_true, np.zeros(len(array)))
    if array.dtype.kind not in "biuf":
        raise UserError(f"scores: are of type {array.dtype}. Give numbers.")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        case, reader, modality = bad[0]
        where = f"scores of reader {reader}, modality {modality}"
        raise row_error(where, int(case) + 1, f"the value is {array[case, reader, modality]}", "Read the case again.")
    patient, names = np.arange(len(array)), None
    if patient_id is not None:
        same_rows("y_true", y_true, "patient_id", patient_id)
        patient, names = pd.factorize(pd.Series(patient_id))
        if (patient < 0).any():
            raise row_error("patient_id", int(np.argmax(patient < 0)) + 1, "is empty", "Name every case's patient.")
    n_patients = int(patient.max()) + 1
    if n_patients < 2:
        raise UserError("patient_id: there is only one patient. The jackknife needs at least two.")
    weight = np.vstack([np.ones(len(array), dtype=np.int64), patient != np.arange(n_patients)[:, None]])
    _, n_readers, n_modalities = array.shape
    values = np.empty((1 + n_patients, n_readers, n_modalities))
    for j in range(n_readers):
        for i in range(n_modalities):
            values[:, j, i] = figure(labels, array[:, j, i].astype(np.float64), weight)
    if np.isnan(values).any():
        row = int(np.argmax(np.isnan(values).any(axis=(1, 2))))
        who = "" if not row else f" without case {row}" if names is None else f" without patient {names[row - 1]!r}"
        raise UserError(f"The figure of merit is undefined{who}. Give at least two patients of each class.")
    return values[0], values[1:]


def jackknife_covariance(left_out: np.ndarray) -> np.ndarray:
    """Covariance of the figures of merit from K leave-one-out values, (K - 1) / K sum_k d_k d_k'.

    left_out: [K, n_readers, n_modalities];  d_k is its deviation from the mean over k
    Returns [n_readers, n_modalities, n_readers, n_modalities].
    """
    n = len(left_out)
    deviation = (left_out - left_out.mean(axis=0)).reshape(n, -1)  # [K, r, t] -> [K, r t]
    return ((n - 1) / n * deviation.T @ deviation).reshape(2 * left_out.shape[1:])


def obuchowski_rockette(
    y_true: ArrayLike,
    scores: ArrayLike,
    figure: Figure = roc_auc,
    *,
    patient_id: ArrayLike | None = None,
    level: float = 0.95,
) -> MRMC:
    """Compare modalities over readers and cases; arguments and errors as `jackknife` and `analyse`."""
    theta, left_out = jackknife(y_true, scores, figure, patient_id)
    return analyse(theta, jackknife_covariance(left_out), level)


def readers_against_model(
    y_true: ArrayLike,
    answers: ArrayLike,
    score: ArrayLike,
    figure: Figure = roc_auc,
    *,
    patient_id: ArrayLike | None = None,
    level: float = 0.95,
) -> MRMC:
    """The readers' mean against one model that has scored the same cases, each reader paired with that model.

    answers: [n_cases, n_readers];  score: (n_cases,). Modality 0 of the result is the model, 1 the readers, so that
    its one difference is model - mean of readers. With D_j = theta_model - theta_j this is the one-treatment analysis
    (Hillis et al., Stat Med 2005;24:1579-1607) of the D_j,
        Var(mean D) = (MS_R(D) + r max(Cov2(D), 0)) / r,   MS_R(D) = sum_j (D_j - mean D)^2 / (r - 1),
        df = (MS_R(D) + r max(Cov2(D), 0))^2 / (MS_R(D)^2 / (r - 1)),
    since a model that reads alike for every reader has MS_TR = MS_R(D) / 2 and Cov2 - Cov3 = Cov2(D) / 2.
    Raises UserError as `obuchowski_rockette` does.
    """
    matrix, model = np.asarray(answers), np.asarray(score)
    if matrix.ndim != 2 or model.ndim != 1 or len(matrix) != len(model):
        raise UserError(f"answers {matrix.shape}, score {model.shape}: give [n_cases, n_readers] and (n_cases,).")
    both = np.stack([np.broadcast_to(model[:, None], matrix.shape), matrix], axis=2)  # [n_cases, n_readers, 2]
    return obuchowski_rockette(y_true, both, figure, patient_id=patient_id, level=level)


def analyse(theta: np.ndarray, covariance: np.ndarray, level: float = 0.95) -> MRMC:
    """The analysis of variance of the figures of merit, whatever their covariances come from.

    theta: [r, t] readers x modalities;  covariance: [r, t, r, t] of their errors
    Random readers, random cases (conclusions for readers like these), with E = MS_TR + max(r (Cov2 - Cov3), 0):
        F = MS_T / E on t - 1 and df = E^2 / (MS_TR^2 / ((t - 1)(r - 1))) degrees of freedom,
        difference of two modality means: variance 2 E / r, Student's t with df.
    Fixed readers, random cases (these readers only), with E = Var - Cov1 + (r - 1)(Cov2 - Cov3), no less than 0:
        (t - 1) MS_T / E is chi-squared with t - 1 degrees of freedom; variance 2 E / r, normal.
    A modality's mean uses its own readings: (MS_R + r max(Cov2, 0)) / r and (Var + (r - 1) Cov2) / r.
    The latter interval is somewhat narrow with few readers: simulated Roe-Metz studies of AUC 0.85 give it a coverage
    of 92 to 93 % with four readers and 95 % with ten.
    Where E is 0 but for rounding the interval is a point, and p is 1 for no difference and 0 for any.
    Raises UserError for fewer than two readers or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise UserError(f"level: {level} is not between 0 and 1. Write 0.95 for 95 %.")
    r, t = theta.shape
    if r < 2:
        raise UserError("scores: there is one reader only. The variance between readers needs at least two.")
    means = theta.mean(axis=0)
    rows = []
    for i in range(t):
        ms_r = theta[:, i].var(ddof=1)
        var, cov2 = _same_and_other(covariance[:, i, :, i])
        error = _rounded(ms_r + max(r * cov2, 0.0), var)
        random = _interval(means[i], error / r, _degrees(error, ms_r, r - 1), level)
        fixed = _interval(means[i], (var + (r - 1) * cov2) / r, np.inf, level)
        rows.append({"mean": means[i], **_named(random, "random", "p"), **_named(fixed, "fixed", "p", "df")})
    means_frame = pd.DataFrame(rows, index=pd.RangeIndex(t, name="modality"))
    names = ["ms_t", "ms_r", "ms_tr", "var", "cov1", "cov2", "cov3"]
    if t == 1:
        return MRMC(theta, pd.Series(np.nan, names), means_frame, pd.DataFrame(), pd.DataFrame())

    by_reader = theta.mean(axis=1, keepdims=True)
    ms_t, ms_r = r * means.var(ddof=1), t * by_reader.var(ddof=1)
    ms_tr = ((theta - by_reader - means + theta.mean()) ** 2).sum() / ((t - 1) * (r - 1))
    within = np.array([_same_and_other(covariance[:, i, :, i]) for i in range(t)]).mean(axis=0)
    pairs = list(combinations(range(t), 2))
    across = np.array([_same_and_other(covariance[:, a, :, b]) for a, b in pairs]).mean(axis=0)
    (var, cov2), (cov1, cov3) = within, across
    random_error = _rounded(ms_tr + max(r * (cov2 - cov3), 0.0), var)
    fixed_error = _rounded(var - cov1 + (r - 1) * (cov2 - cov3), var)
    df = _degrees(random_error, ms_tr, (t - 1) * (r - 1))
    rows = []
    for a, b in pairs:
        difference = means[a] - means[b]
        random = _interval(difference, 2 * random_error / r, df, level)
        fixed = _interval(difference, 2 * fixed_error / r, np.inf, level)
        row = {"first": a, "second": b, "difference": difference}
        rows.append({**row, **_named(random, "random"), **_named(fixed, "fixed", "df")})
    tests = [_f_test(ms_t, random_error, t - 1, df), _f_test(ms_t, fixed_error, t - 1, np.inf)]
    return MRMC(
        theta,
        pd.Series([ms_t, ms_r, ms_tr, var, cov1, cov2, cov3], names),
        means_frame,
        pd.DataFrame(rows),
        pd.DataFrame(tests, index=["random readers", "fixed readers"], columns=["f", "df1", "df2", "p"]),
    )


def _same_and_other(block: np.ndarray) -> tuple[float, float]:
    """Mean of the diagonal (a reader with herself) and of the rest (two readers) of [r, r]."""
    r = len(block)
    own = np.trace(block) / r
    return own, (block.sum() - r * own) / (r * (r - 1))


def _rounded(error: float, var: float) -> float:
    """The error term, 0 where it is negative or no more than the rounding errors of what it is the difference of."""
    return error if error > _ROUNDING * var + _ROUNDING**2 else 0.0


def _degrees(error: float, mean_square: float, df: int) -> float:
    """Hillis's degrees of freedom: error^2 / (mean_square^2 / df), infinite where readers do not differ at all."""
    return df * (error / mean_square) ** 2 if mean_square > _ROUNDING**2 else np.inf


def _interval(estimate: float, variance: float, df: float, level: float) -> dict[str, float]:
    se = float(np.sqrt(max(variance, 0.0)))
    half = se * special.stdtrit(df, (1 + level) / 2)  # Student's t, normal for infinite df
    p = 2 * special.stdtr(df, -abs(estimate) / se) if se > 0 else float(abs(estimate) < _ROUNDING)
    return {"se": se, "df": df, "low": estimate - half, "high": estimate + half, "p": p}


def _named(interval: dict[str, float], prefix: str, *without: str) -> dict[str, float]:
    return {f"{prefix}_{key}": value for key, value in interval.items() if key not in without}


def _f_test(mean_square: float, error: float, df1: int, df2: float) -> list[float]:
    if error == 0:
        equal = mean_square < _ROUNDING**2
        return [np.nan if equal else np.inf, df1, df2, float(equal)]
    f = mean_square / error
    return [f, df1, df2, special.chdtrc(df1, df1 * f) if np.isinf(df2) else special.fdtrc(df1, df2, f)]
