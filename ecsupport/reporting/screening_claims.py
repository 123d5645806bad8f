"""The claims of Table 3 and Figures 4 and 7, put into the ledger from what notebook 05 has measured.

Each function enters estimates into a notebook's `Results` and returns nothing.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ecsupport.bench import Measure
from ecsupport.core.seeds import generator
from ecsupport.evaluation.bootstrap import statistic_interval
from ecsupport.evaluation.components import MINIMUM_SEEDS, crossed
from ecsupport.evaluation.hierarchical import smallest
from ecsupport.evaluation.probes import by_patient
from ecsupport.evaluation.proportions import proportion_interval
from ecsupport.evaluation.runs import mean_roc
from ecsupport.experiments.tested import Tested
from ecsupport.reporting.results import Results
from ecsupport.reporting.screening_tables import NETWORKS, OTHERS
from ecsupport.reporting.shown import estimated
from ecsupport.screening.selection import area
from ecsupport.screening.settings import Settings

ALIKE = "the same images, steps and seeds"
BEST = {"accuracy": "accuracy", "specificity": "specificity", "precision": "precision", "f1": "f1_score"}
REACHED = 0.95  # sensitivity on validation at the operating point
RESAMPLES = 300
NOT_MEASURED = "not measured: make bench GROUP=screening"


def untrained(settings: Settings) -> str:
    """Why a network below the floor is not compared."""
    return f"below a logistic model after {settings.steps} steps of {settings.batch} images"


def against_each(
    results: Results,
    differences: Mapping[str, pd.DataFrame],
    short: Collection[str],
    settings: Settings,
    tested: Tested,
) -> None:
    """LSNet's sensitivity and AUC against each other network.

    differences: LSNet less each of OTHERS, of `difference_table`;  short: networks below the logistic floor, in words;
    tested: whose images decide
    """
    for name, label in OTHERS.items():
        for metric, word in (("sensitivity", "sensitivity"), ("roc_auc", "auc")):
            line = differences[name].loc[metric]
            claim = f"lsnet_beats_{name.removesuffix('_wide')}_{word}"
            if below := [network for network in ("LSNet", label) if network in short]:
                seen = f"difference here {estimated(*line[['estimate', 'low', 'high']], '.3f')}"
                why = f"{' and '.join(below)} {untrained(settings)}; {seen}"
                results.estimate(claim, None, trained=True, assessable=False, note=why)
                continue
            results.estimate(
                claim, line["estimate"], line["low"], line["high"],
                degrees=line["degrees"], trained=True, n=tested.number,
                note=f"{line['scope']}; {tested.described}; {ALIKE}",
            )  # fmt: skip


def best_of_four(
    results: Results,
    differences: Mapping[str, pd.DataFrame],
    short: Collection[str],
    settings: Settings,
    tested: Tested,
) -> None:
    """LSNet's other metrics against the best of the others: the smallest difference; arguments of `against_each`."""
    for metric, word in BEST.items():
        lines = pd.DataFrame([differences[name].loc[metric] for name in OTHERS])
        value, low, high, p = smallest(lines)
        if short or np.isnan([value, low, high]).any():
            below = f"{', '.join(short)} {untrained(settings)}"
            why = below if short else "undefined: a network calls no image positive"
            why = f"{why}; difference here {'undefined' if np.isnan(value) else f'{value:.3f}'}"
            results.estimate(f"lsnet_best_{word}", None, trained=True, assessable=False, note=why)
            continue
        limits = "smallest difference over three networks, its limits the smallest of their limits"
        results.estimate(
            f"lsnet_best_{word}", value, low, high, p=p, trained=True, n=tested.number,
            note=f"{limits}; {lines['scope'].iloc[-1]}; {tested.described}; {ALIKE}",
        )  # fmt: skip


def roc_nowhere_lower(results: Results, tested: Tested) -> None:
    """The smallest difference of mean ROC curves, LSNet less another, between false positive rates of .01 and .50."""

    def lowest_gap(drawn: np.ndarray) -> float:
        truth = tested.truth[drawn]
        if len(set(truth)) < 2:
            return np.nan
        of = mean_roc(truth, {name: [score[drawn] for score in tested.scores[name]] for name in NETWORKS.values()})
        wide = of.pivot(index="false_positive_rate", columns="arm", values="mean").loc[0.01:0.50]
        return float(wide.drop(columns="LSNet").rsub(wide["LSNet"], axis=0).min().min())

    value, low, high, _ = statistic_interval(
        lowest_gap, tested.patients, rng=generator("05", "roc"), n_resamples=RESAMPLES
    )
    found = f"lowest gap here {estimated(value, low, high, '.2f')}"
    note = f"{found}; the smallest of many differences lies too low by chance"
    results.estimate("lsnet_roc_nowhere_lower", None, assessable=False, note=note)


def operations(results: Results, sizes: pd.DataFrame, published: pd.DataFrame) -> None:
    """Operations as printed and as counted here; sizes: of `screening_tables.network_sizes`."""
    of_four = sizes.set_index("network")["FLOPs"][list(NETWORKS.values())]
    others = of_four.drop("LSNet")
    results.estimate(
        "lsnet_fewest_flops", None, assessable=False,
        note="the other networks' configurations are not released; ours near their printed parameters have "
        f"{others.min():.3f} to {others.max():.3f} GFLOPs, LSNet {of_four['LSNet']:.3f} with attention and simulator",
    )  # fmt: skip
    printed = published[(published["where"] == "table_3") & (published["row"] == "FLOPs")]["value"]
    ours = of_four.max() / of_four.min() - 1
    results.estimate(
        "flops_consistent_across_models", printed.max() / printed.min() - 1, exact=True,
        note=f"the four printed numbers; {ours:.1f} with networks of ours near the printed parameters",
    )  # fmt: skip


def times(results: Results, timed: Mapping[str, Measure]) -> None:
    """Seconds of one image, from the kept measures of the bench `screening`; none where there are none."""
    if not timed:
        for claim in ("lsnet_faster_than_mobilevit", "lsnet_real_time"):
            results.estimate(claim, None, assessable=False, note=NOT_MEASURED)
        return
    note = "kept measures of make bench GROUP=screening: one thread, 320 px; ratio of rounds in turn"
    here, against = timed["LSNet, one image"], timed["LSNet over mobilevit"]
    saved = [here.value / 1000 * (1 - 1 / ratio) for ratio in (against.value, against.low, against.high)]
    results.estimate("lsnet_faster_than_mobilevit", *saved, note=note)
    slowest = timed["LSNet, one image, 95th percentile"]
    seconds = [x / 1000 for x in (slowest.value, slowest.low, slowest.high)]
    results.estimate("lsnet_real_time", *seconds, note=note)


def sensitivity(
    results: Results, tested: Tested, validation: Sequence[np.ndarray], validation_truth: np.ndarray
) -> None:
    """LSNet's sensitivity at an operating point fixed on validation; validation: its scores there, one row a run.

    The threshold is the highest at or above which at least 95 % of the positive validation images lie.
    """
    ill, reached, passed = tested.truth == 1, [], []
    positive = validation_truth == 1
    for tuned, score in zip(validation, tested.scores["LSNet"], strict=True):
        threshold = np.sort(tuned[positive])[int((1 - REACHED) * positive.sum())]
        reached.append(score[ill] >= threshold)
        passed.append((score[~ill] < threshold).mean())
    of_patient = by_patient(reached, tested.patients[ill])
    value, n = float(of_patient.mean()), of_patient.shape[1]
    error, scope = crossed(of_patient)
    low, high = error.interval(value)
    # no spread is seen where all patients are found
    bound = proportion_interval(int(value * n), n, method="clopper-pearson")
    where = f"held fixed, specificity there {np.mean(passed):.2f} on {tested.described}"
    results.estimate(
        "lsnet_sensitivity_suffices", value, min(low, float(bound.low)), high, trained=True, n=n,
        note=f"threshold: highest with sensitivity 0.95 on validation, {where}; mean of the patients' sensitivities, "
        f"runs averaged; {scope}",
    )  # fmt: skip


def simulator(results: Results, by_image: Sequence[pd.DataFrame], patients: np.ndarray) -> None:
    """Whether simulators follow the teacher, and what the student is without it.

    by_image: of `keys.measured`, one a run;  patients: (N,), whose test image each is.
    """
    runs = np.array([of[["taught", "untaught"]].to_numpy().T for of in by_image])
    gain = by_patient(runs[:, 0] - runs[:, 1], patients)  # (runs, P)
    value, n = float(gain.mean()), gain.shape[1]
    error, scope = crossed(gain)
    low, high = error.interval(value)
    taught, untaught = runs.mean(axis=0)  # (runs, 2, N) -> two of (N,)
    what = "rank correlation over the keys of a query, mean over queries, heads, blocks and runs"
    results.estimate(
        "simulator_follows_teacher", value, low, high, degrees=error.degrees, trained=True, n=n,
        note=f"{what}, {taught.mean():+.3f}, less that of the simulator before training, {untaught.mean():+.3f}; "
        f"teacher's predicted class; {scope}",
    )  # fmt: skip
    results.estimate(
        "student_autonomous_at_inference", max(of["apart"].max() for of in by_image), exact=True, n=len(patients),
        note="an identity of this implementation: at the end of the hand-over the teacher's share is zero",
    )  # fmt: skip


def smoothing(results: Results, history: pd.DataFrame) -> None:
    """How much less smoothed targets move than raw ones; history: rows of history.csv, with a column seed."""
    moved = history.dropna(subset=["raw_change", "smooth_change"])
    by_seed = (moved["smooth_change"] - moved["raw_change"]).groupby(moved["seed"]).mean()
    low = high = None
    if len(by_seed) >= MINIMUM_SEEDS:
        low, high = stats.t.interval(0.95, len(by_seed) - 1, by_seed.mean(), by_seed.sem())
    note = "change of an image's target since it was last seen; an average of old and new moves less by construction"
    results.estimate(
        "smoothing_calms_gradient_targets",
        by_seed.mean(),
        low,
        high,
        n=len(by_seed),
        note=note,
        degrees=None if low is None else len(by_seed) - 1,
    )


def centres(results: Results, tested: Tested) -> None:
    """Largest less smallest AUC over the centres that have both classes, runs averaged."""
    centre = tested.rows["centre"].to_numpy()

    def spread(drawn: np.ndarray) -> float:
        areas = []
        for name in sorted(set(centre[drawn])):
            here = drawn[centre[drawn] == name]
            ill, well = here[tested.truth[here] == 1], here[tested.truth[here] == 0]
            if len(ill) and len(well):
                areas.append(np.mean([area(s[ill], s[well]) for s in tested.scores["LSNet"]]))
        return max(areas) - min(areas) if len(areas) > 1 else np.nan

    value, low, high, _ = statistic_interval(
        spread, tested.patients, rng=generator("05", "centres"), n_resamples=RESAMPLES
    )
    found = f"range here {estimated(value, low, high, '.2f')}"
    if np.isnan(value):
        found = "too few patients in all centres but one"
    note = f"{found}; even with equal performance the range over a few small centres is above the margin by chance"
    results.estimate("lsnet_uniform_across_centres", None, assessable=False, note=note)
