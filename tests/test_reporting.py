"""The reporting room: results that are whole and equal from run to run, verdicts by rule, a page that stands alone."""

import dataclasses
import json
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecsupport.audit.rules import AUDIT_COLUMNS
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.reporting import diagram, ledger, shown, style
from ecsupport.reporting.ledger import (
    CONSTRUCTION,
    DECIDED,
    EQUIVALENT,
    NEGLIGIBLE,
    NOT_TESTED,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    claims_ledger,
    detectable,
    holm,
    verdict,
    verdict_counts,
    verdicts,
)
from ecsupport.reporting.report import write_audit_page, write_report
from ecsupport.reporting.results import Results, banner
from ecsupport.reporting.shown import estimated, in_words

INDEX = """
[[notebook]]
name = "01_first"
title = "The first <one>"
needs = []
items = { "table-1" = "table_1.csv" }
minutes = { smoke = 0.1 }

[[notebook]]
name = "99_ledger"
title = "The ledger"
needs = ["01_first"]
items = {}
minutes = { smoke = 0.1 }
"""
FRAME = pd.DataFrame({"metric": ["Sensitivity", "a < b"], "published": [0.995, math.nan], "computed": [1 / 3, 2e-9]})


@pytest.fixture
def run(tmp_path, monkeypatch, write_notebook):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    (notebooks / "index.toml").write_text(INDEX)
    write_notebook(notebooks / "01_first.ipynb", "from ecsupport.reporting.results import Results")
    write_notebook(notebooks / "99_ledger.ipynb", "from ecsupport.reporting.report import write_report")
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(notebooks))
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    style.use()
    yield Run.open()
    plt.close("all")


def write_first(run, **estimate):
    results = Results(run, "01_first")
    results.table(FRAME, "table_1", caption="Published & computed")
    figure, axis = plt.subplots()
    axis.plot([0, 1], [0, 1])
    results.figure(figure, "curve", FRAME, caption="A curve")
    results.estimate("gain", **({"value": 0.04, "low": 0.01, "high": 0.07, "n": 60} | estimate))
    results.finish()


def claims(*rows):
    columns = [
        "id",
        "where",
        "claim",
        "estimand",
        "direction",
        "margin",
        "smallest_effect",
        "unit",
        "published",
        "family",
    ]
    return pd.DataFrame(rows, columns=[*columns, "rests_on", "notebook"])


def of_claim(claim, **changed):
    """The same claim with other cells."""
    return tuple(changed.get(name, cell) for name, cell in claims(claim).iloc[0].items())


NUMBERS = pd.DataFrame({"printed": ["99.5%"]}, index=["text.gain"])
GAIN = (
    "gain",
    "abstract",
    "There <is> a gain.",
    "a - b",
    ">",
    0.0,
    "",
    "proportion",
    "text.gain",
    "table_1",
    "measured",
    "01_first",
)
LATER = (
    "later",
    "abstract",
    "There is more.",
    "c - d",
    ">",
    0.0,
    "",
    "proportion",
    "",
    "table_1",
    "training",
    "03_third",
)


# --- results --------------------------------------------------------------------------------------------------------


def test_results_list_every_file_with_its_hash_and_repeat_to_the_byte(run):
    write_first(run)
    first = {file.name: file.read_bytes() for file in run.figures.iterdir()}
    assert set(first) == {"01_first.json", "table_1.csv", "curve.png", "curve.csv"}
    write_first(run)
    assert first == {file.name: file.read_bytes() for file in run.figures.iterdir()}
    record = json.loads(first["01_first.json"])
    assert record["profile"] == "smoke"
    assert record["cohort"] == "phantom-v2-easy"
    assert set(record["code"]) >= {"ecsupport.reporting.results"}
    assert set(record["files"]) == {f"figures/smoke/{name}" for name in first if name != "01_first.json"}
    assert first["table_1.csv"] == b"metric,published,computed\nSensitivity,0.995,0.333333\na < b,,2e-09\n"


def test_a_picture_without_images_does_not_speak_of_phantoms(run):
    figure, _ = plt.subplots()
    Results(run, "01_first").figure(figure, "curve", FRAME, no_images=True)
    assert "phantom" not in figure.texts[-1].get_text()


def test_the_audit_page_shows_every_witness_and_needs_nothing_else(run):
    rows = [("a", "table_2", "Se", "UNIT", "0.7882", "runs_at_n", "inconsistent", "no <whole> count"),
            ("b", "table_2", "Sp", "UNIT", "0.7049", "identity", "consistent", "71/96")]  # fmt: skip
    results = Results(run, "01_first")
    write_audit_page(results, pd.DataFrame(rows, columns=AUDIT_COLUMNS))
    page = (run.notebooks / "audit.html").read_text(encoding="utf-8")
    assert "1 inconsistent, 1 consistent" in page and "no &lt;whole&gt; count" in page and "71/96" in page
    assert "://" not in page


def test_a_figure_carries_its_provenance_below_the_drawing(run):
    figure, axis = plt.subplots()
    axis.set_xlabel("False positive rate")
    Results(run, "01_first").figure(figure, "curve", FRAME)
    footer = figure.texts[-1]
    assert footer.get_text() == "phantom-v2-easy · smoke · 01_first · phantom images, not patients"
    renderer = figure.canvas.get_renderer()
    assert not footer.get_window_extent(renderer).overlaps(axis.get_tightbbox(renderer))


def test_nothing_of_a_figure_is_cut_off(run):
    figure, _ = plt.subplots()
    Results(run, "01_first").figure(figure, "plain", FRAME)
    height = figure.get_figheight()
    figure.text(0.5, 1.1, "outside")
    Results(run, "01_first").figure(figure, "taller", FRAME)
    sizes = {name: plt.imread(run.figures / f"{name}.png") for name in ("plain", "taller")}
    assert sizes["plain"].shape[0] == round(150 * height)
    assert sizes["taller"].shape[0] >= 1.1 * 150 * height
    assert (sizes["taller"][0, :, :3] == 1).all()  # white above


def test_own_images_are_named_and_not_called_phantoms(run, tmp_path):
    (tmp_path / "ward.csv").write_text("patient\n1\n")
    own = Run.open("smoke", str(tmp_path / "ward.csv"))
    assert "ward" in repr(banner(own))
    assert "hantom" not in repr(banner(own))
    assert "never about patients" in repr(banner(run))
    figure, _ = plt.subplots()
    Results(own, "01_first").figure(figure, "curve", FRAME)
    assert figure.texts[-1].get_text() == "ward · smoke · 01_first"


def test_a_partial_ledger_says_not_yet_of_a_notebook_that_has_not_run(run):
    made = claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS)
    assert set(made["verdict"]) == {"not yet"}
    assert Results(run, "99_ledger", partial=True).there == {}


def test_what_is_needed_must_stand_and_be_unaltered(run):
    with pytest.raises(UserError, match="01_first has no results for smoke yet. Run it first: make reproduce"):
        Results(run, "99_ledger")
    write_first(run)
    results = Results(run, "99_ledger")
    assert results.needed("01_first", "table_1.csv") == run.figures / "table_1.csv"
    with pytest.raises(ValueError, match="lists no table_2.csv"):
        results.needed("01_first", "table_2.csv")
    (run.figures / "table_1.csv").write_text("by hand")
    with pytest.raises(UserError, match="table_1.csv is not what 01_first wrote"):
        results.needed("01_first", "table_1.csv")
    with pytest.raises(UserError, match="Add that to its needs"):
        Results(run, "01_first").needed("99_ledger", "ledger.csv")


def test_a_notebook_must_make_the_items_it_promises(run):
    with pytest.raises(ValueError, match=r"01_first has not made table-1 \(table_1.csv\)"):
        Results(run, "01_first").finish()
    assert not (run.figures / "01_first.json").exists()


def test_an_item_that_cannot_be_made_is_said_to_be_missing(run):
    results = Results(run, "01_first")
    with pytest.raises(ValueError, match="promises no figure-9"):
        results.missing(["figure-9"], "no MRI")
    results.missing(["table-1"], "the manifest holds <no> MRI")
    results.finish()
    page = Results(run, "99_ledger")
    write_report(page, claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS))
    assert "Table 1 cannot be made from these images: the manifest holds &lt;no&gt; MRI." in (
        run.notebooks / "report.html"
    ).read_text(encoding="utf-8")


def test_the_split_manifest_keeps_ids_as_they_are_written(run):
    results = Results(run, "01_first")
    rows = pd.DataFrame({"image": ["7.png"], "patient_id": ["007"], "centre": ["1"], "sequence": [""]})
    rows = rows.assign(diagnosis="", invasion_depth=math.nan, visible=pd.NA, split="test", hash="1e5", label=1)
    results.table(rows, "manifest")
    results.table(FRAME, "table_1")
    results.finish()
    row = Results(run, "99_ledger").read("01_first", "manifest.csv").iloc[0]
    assert (row["patient_id"], row["centre"], row["hash"], row["sequence"]) == ("007", "1", "1e5", "")
    assert math.isnan(row["invasion_depth"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"value": math.nan}, "value is nan"),
        ({"value": 1.0, "low": 0.5}, "the interval 0.5 to None is none"),
        ({"value": 1.0, "low": 2.0, "high": 1.0}, "the interval 2.0 to 1.0 is none"),
        ({"value": None}, "give a value"),
        ({"value": None, "assessable": False}, "a note that says why"),
    ],
)
def test_an_estimate_that_says_nothing_is_refused(run, values, message):
    with pytest.raises(ValueError, match=message):
        Results(run, "01_first").estimate("gain", **values)


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "margin", "low", "high", "expected"),
    [
        (">", 0.0, 0.01, 0.05, SUPPORTED),
        (">", 0.0, -0.01, 0.05, UNDECIDED),
        (">", 0.0, -0.05, -0.01, REFUTED),
        (">", 0.0, 0.0, 0.05, UNDECIDED),
        (">", -0.02, -0.01, 0.05, SUPPORTED),
        ("<", 0.0, -0.05, -0.01, SUPPORTED),
        ("<", 0.0, 0.01, 0.05, REFUTED),
        ("<", 0.0, -0.01, 0.01, UNDECIDED),
        ("within", 0.05, -0.03, 0.05, SUPPORTED),
        ("within", 0.05, -0.03, 0.06, UNDECIDED),
        ("within", 0.05, 0.06, 0.08, REFUTED),
        ("within", 0.05, -0.08, -0.06, REFUTED),
        ("=", 0.0, -0.01, 0.01, UNDECIDED),
        ("=", 0.0, 0.01, 0.02, REFUTED),
        ("descriptive", math.nan, 0.01, 0.02, "descriptive"),
    ],
)
def test_verdict_by_interval(direction, margin, low, high, expected):
    assert verdict(direction, margin, (low + high) / 2, low, high) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.03, 0.05, SUPPORTED),
        (0.01, 0.05, SUPPORTED),
        (0.01, 0.02, SUPPORTED),  # touches the smallest effect
        (0.01, 0.019, NEGLIGIBLE),
        (-0.019, -0.01, REFUTED),  # worse, however little
        (-0.05, -0.03, REFUTED),
        (-0.019, 0.019, EQUIVALENT),
        (0.0, 0.019, EQUIVALENT),  # holds the margin
        (-0.019, 0.02, UNDECIDED),
        (-0.02, 0.019, UNDECIDED),
        (0.01, 0.01, UNDECIDED),  # nothing varies: no certainty
    ],
)
def test_verdict_beside_the_smallest_effect_is_the_same_for_either_direction(low, high, expected):
    middle = (low + high) / 2
    assert verdict(">", 0.0, middle, low, high, smallest_effect=0.02) == expected
    assert verdict("<", 0.0, -middle, -high, -low, smallest_effect=0.02) == expected
    without = {NEGLIGIBLE: SUPPORTED, EQUIVALENT: UNDECIDED}.get(expected, expected)
    assert verdict(">", 0.0, middle, low, high) == without


@pytest.mark.parametrize(
    ("direction", "value", "expected"),
    [(">", 0.1, SUPPORTED), (">", 0.0, REFUTED), ("<", 0.0, REFUTED), ("=", 0.0, SUPPORTED), ("=", 1.0, REFUTED)],
)
def test_an_exact_value_is_decided_by_itself(direction, value, expected):
    assert verdict(direction, 0.0, value, exact=True) == expected


def test_a_value_without_interval_decides_nothing_unless_exact():
    assert verdict(">", 0.0, 5.0) == UNDECIDED


numbers = st.floats(-1, 1)
widths = st.floats(0.001, 0.5)


@given(st.sampled_from([">", "<", "=", "within"]), st.floats(0, 0.5), numbers, widths, st.floats(0, 0.5), widths)
def test_a_wider_interval_never_decides_what_a_narrower_one_left_open(direction, margin, low, width, more, effect):
    """Nor does it turn a verdict round: a supported claim becomes equivalent or undecided, a refuted one likewise."""
    of = {"smallest_effect": effect if direction in "<>" else math.nan}
    narrow = verdict(direction, margin, low, low, low + width, **of)
    wide = verdict(direction, margin, low, low - more, low + width + more, **of)
    weaker = {SUPPORTED: {UNDECIDED}, NEGLIGIBLE: {SUPPORTED, EQUIVALENT, UNDECIDED}, REFUTED: {EQUIVALENT, UNDECIDED}}
    assert wide == narrow or wide in weaker.get(narrow, {UNDECIDED})


@given(numbers, widths, st.floats(0, 0.5), st.floats(-0.5, 0.5))
def test_the_other_direction_gives_the_mirrored_verdict(low, width, effect, margin):
    high = low + width
    one = verdict(">", margin, low, low, high, smallest_effect=effect)
    assert one == verdict("<", -margin, -low, -high, -low, smallest_effect=effect)
    other = verdict("<", margin, low, low, high)  # the opposite claim about the same numbers
    assert {SUPPORTED: REFUTED, REFUTED: SUPPORTED, UNDECIDED: UNDECIDED}[verdict(">", margin, low, low, high)] == other


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_holm_agrees_with_statsmodels(size):
    p_values = np.random.default_rng(size).beta(0.3, 2, size).round(2)  # rounded: with ties
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


@given(st.sampled_from([">", "<", "within"]), st.floats(0, 0.5), numbers, numbers, st.floats(0.01, 0.5))
def test_a_p_value_from_an_interval_says_what_the_interval_says(direction, margin, value, low, width):
    """Wherever the value lies, be it outside, as a biased statistic may."""
    high = low + width
    p = ledger.p_from_interval(direction, margin, value, low, high)
    if min(abs(low - margin), abs(high - margin), abs(low + margin), abs(high + margin)) > 1e-9:
        assert (p < 0.05) == (verdict(direction, margin, value, low, high) != UNDECIDED)


def test_a_p_value_from_a_normal_interval_is_that_of_the_normal_test():
    value, error = 0.3, 0.11
    p = ledger.p_from_interval(">", 0.0, value, value - 1.959964 * error, value + 1.959964 * error)
    assert p == pytest.approx(2 * stats.norm.sf(value / error), rel=1e-5)
    assert ledger.p_from_interval(">", 0.0, 1.0, 1.0, 1.0) == 1.0  # nothing varies, which is no certainty
    assert math.isnan(ledger.p_from_interval(">", 0.0, 1.0, None, None))


def test_p_values_and_what_is_detectable_are_those_of_student_s_t():
    rng = np.random.default_rng(1)
    x = rng.normal(0.4, 1.0, 8)
    low, high = stats.t.interval(0.95, 7, x.mean(), stats.sem(x))
    p = ledger.p_from_interval(">", 0.1, x.mean(), low, high, 7)
    assert p == pytest.approx(stats.ttest_1samp(x, 0.1).pvalue)
    sides = [stats.ttest_1samp(x, bound, alternative=side).pvalue for bound, side in ((-3, "greater"), (3, "less"))]
    assert ledger.p_from_interval("within", 3.0, x.mean(), low, high, 7) == pytest.approx(2 * max(sides))  # TOST
    found = (stats.t.ppf(0.975, 7) + stats.t.ppf(0.8, 7)) * stats.sem(x)
    assert detectable(low, high, 7) == pytest.approx(found)
    assert detectable(-1.959964, 1.959964) == pytest.approx(2.8016, abs=1e-4)  # the textbook's 2.8 standard errors
    assert math.isnan(detectable(None, None)) and math.isnan(detectable(0.1, 0.1))


# --- the ledger -----------------------------------------------------------------------------------------------------


def test_the_ledger_joins_claims_with_estimates(run):
    write_first(run)
    made = claims_ledger(run, ["01_first"], claims(GAIN, LATER), NUMBERS)
    assert made["verdict"].tolist() == [SUPPORTED, "not yet"]
    assert made.loc[0, ["published", "computed", "low", "high", "n"]].tolist() == ["99.5%", 0.04, 0.01, 0.07, 60]
    assert made.loc[1, ["computed", "low"]].isna().all()
    assert verdict_counts(made) == dict.fromkeys(ledger.VERDICTS, 0) | {SUPPORTED: 1, "not yet": 1}


def ranking(run, ranks):
    return dataclasses.replace(run, profile=dataclasses.replace(run.profile, ranks=ranks))


@pytest.mark.parametrize(("ranks", "expected"), [(True, SUPPORTED), (False, NOT_TESTED)])
def test_a_profile_that_ranks_nothing_decides_nothing_that_was_trained(run, ranks, expected):
    run = ranking(run, ranks)
    write_first(run, trained=True)
    row = claims_ledger(run, ["01_first"], claims(of_claim(GAIN, rests_on="training")), NUMBERS).iloc[0]
    assert (row["verdict"], row["computed"], row["low"]) == (expected, 0.04, 0.01)
    assert ("trains too briefly to decide" in row["note"]) != ranks


@pytest.mark.parametrize(("rests_on", "trained"), [("training", False), ("measured", True), ("construction", True)])
def test_an_estimate_must_rest_on_what_its_claim_says(run, rests_on, trained):
    write_first(run, trained=trained)
    with pytest.raises(ValueError, match=f"01_first gives 'gain' as trained={trained}; it rests on {rests_on}"):
        claims_ledger(run, ["01_first"], claims(of_claim(GAIN, rests_on=rests_on)), NUMBERS)


@pytest.mark.parametrize(("low", "expected"), [(0.01, CONSTRUCTION), (-0.01, UNDECIDED)])
def test_what_holds_by_construction_counts_for_nothing_and_is_no_test(run, low, expected):
    """A second claim of the family keeps its own p; what does not hold is not called so."""
    results = Results(run, "01_first")
    results.table(FRAME, "table_1", caption="Published & computed")
    results.estimate("gain", 0.04, low, 0.07)
    results.estimate("later", 0.04, 0.01, 0.07, p=0.04)
    results.finish()
    both = claims(of_claim(GAIN, rests_on="construction"), of_claim(LATER, rests_on="measured"))
    made = claims_ledger(run, ["01_first"], both, NUMBERS)
    assert made["verdict"].tolist() == [expected, SUPPORTED]
    assert math.isnan(made.loc[0, "p_holm"]) and made.loc[1, "p_holm"] == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("interval", "floor", "expected"),
    [
        ((0.001, -0.005, 0.007), 0.02, EQUIVALENT),
        ((0.001, -0.005, 0.007), None, UNDECIDED),  # no floor, no smallest effect
        ((0.001, -0.005, 0.007), -0.02, UNDECIDED),
        ((0.005, 0.001, 0.009), 0.02, NEGLIGIBLE),
        ((0.005, 0.001, 0.009), 0.01, SUPPORTED),
    ],
)
def test_a_smallest_effect_may_be_a_part_of_the_measured_floor(run, interval, floor, expected):
    write_first(run, **dict(zip(("value", "low", "high"), interval, strict=True)), floor=floor, degrees=30)
    row = claims_ledger(run, ["01_first"], claims(of_claim(GAIN, smallest_effect="0.5 floor")), NUMBERS).iloc[0]
    assert row["verdict"] == expected
    assert math.isnan(row["detectable"]) == (expected != UNDECIDED)


@pytest.mark.parametrize(("others", "expected"), [(0, EQUIVALENT), (5, UNDECIDED)])
def test_equivalence_has_one_p_that_must_survive_holm(run, others, expected):
    write_first(run, value=0.0, low=-0.018, high=0.018)
    waiting = [of_claim(LATER, id=f"later_{i}") for i in range(others)]
    made = claims_ledger(run, ["01_first"], claims(of_claim(GAIN, smallest_effect="0.02"), *waiting), NUMBERS)
    p = 2 * stats.norm.sf(1.959964 * 0.02 / 0.018)
    assert made.loc[0, "p_holm"] == pytest.approx(min(1, p * (1 + others)), rel=1e-4)
    assert made.loc[0, "verdict"] == expected


def test_every_verdict_has_a_colour_and_those_that_count_for_nothing_are_grey():
    assert tuple(ledger.COLOURS) == VERDICTS and len(set(ledger.COLOURS.values())) == len(VERDICTS)
    for name in set(VERDICTS) - {*DECIDED, UNDECIDED, "descriptive"}:
        red, green, blue = (int(ledger.COLOURS[name][i : i + 2], 16) for i in (1, 3, 5))
        assert max(red, green, blue) - min(red, green, blue) < 20


@pytest.mark.parametrize(("ranks", "expected"), [(True, "not assessable"), (False, NOT_TESTED)])
def test_verdicts_of_a_profile_that_ranks_nothing_do_not_hang_on_what_its_networks_have_learnt(run, ranks, expected):
    run = ranking(run, ranks)
    write_first(run, value=None, low=None, high=None, trained=True, assessable=False, note="below a linear model")
    row = claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS).iloc[0]
    assert row["verdict"] == expected
    assert row["note"].startswith("below a linear model")


def test_a_claim_that_cannot_be_assessed_says_so(run):
    write_first(run, value=None, low=None, high=None, assessable=False, note="no MRI in this manifest")
    made = claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS)
    assert made.loc[0, ["verdict", "note"]].tolist() == ["not assessable", "no MRI in this manifest"]


@pytest.mark.parametrize("assessed", ["not yet", "not assessable", "untrained"])
@pytest.mark.parametrize(
    ("p", "waiting", "expected", "adjusted"),
    [(0.04, False, SUPPORTED, 0.04), (0.04, True, UNDECIDED, 0.08), (0.01, True, SUPPORTED, 0.02)],
)
def test_holm_counts_every_claim_of_the_family_tested_or_not(run, p, waiting, expected, adjusted, assessed):
    gain = {"value": 0.04, "low": 0.01, "high": 0.07, "n": 60, "p": p}
    run = ranking(run, False)
    results = Results(run, "01_first")
    results.table(FRAME, "table_1", caption="Published & computed")
    results.estimate("gain", **gain)
    if waiting and assessed != "not yet":
        results.estimate("later", None, assessable=False, trained=assessed == "untrained", note="no patients")
    results.finish()
    made = claims_ledger(run, ["01_first"], claims(GAIN, *[LATER] * waiting), NUMBERS)
    assert made.loc[0, "verdict"] == expected
    assert made.loc[0, "p_holm"] == pytest.approx(adjusted)


@pytest.mark.parametrize(("p", "alone"), [(0.04, UNDECIDED), (0.01, SUPPORTED)])
def test_a_notebook_sees_its_own_verdicts_before_the_ledger(run, p, alone):
    """What other notebooks test in the family counts as not yet done: the ledger can only decide more."""
    results = Results(run, "01_first")
    results.table(FRAME, "table_1", caption="Published & computed")
    results.estimate("gain", 0.04, 0.01, 0.07, n=60, p=p)
    of_one = verdicts(results, claims(GAIN, LATER), NUMBERS)
    assert of_one[["id", "verdict"]].to_numpy().tolist() == [["gain", alone]]
    results.finish()
    whole = claims_ledger(run, ["01_first"], claims(GAIN, LATER), NUMBERS)
    pd.testing.assert_frame_equal(whole[:1], of_one)
    assert claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS).loc[0, "verdict"] == SUPPORTED


@pytest.mark.parametrize(
    ("claim", "estimate", "message"),
    [
        (LATER, {}, "01_first estimates 'gain', which claims.csv does not hold"),
        (GAIN, {"unit": "ratio"}, "gives 'gain' in ratio; the claim is in proportion"),
    ],
)
def test_an_estimate_must_fit_a_claim(run, claim, estimate, message):
    write_first(run, **estimate)
    with pytest.raises(ValueError, match=message):
        claims_ledger(run, ["01_first"], claims(claim), NUMBERS)


def test_every_committed_claim_has_a_row(run):
    write_first(run)
    results = json.loads((run.figures / "01_first.json").read_text())
    (run.figures / "01_first.json").write_text(json.dumps(results | {"estimates": []}))
    made = claims_ledger(run, ["01_first"])
    assert len(made) > 50
    assert set(made["verdict"]) == {"not yet"}


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_report_stands_alone_and_repeats_to_the_byte(run):
    write_first(run)

    def write():
        results = Results(run, "99_ledger")
        made = claims_ledger(run, results.notebook.needs, claims(GAIN, LATER), NUMBERS)
        results.table(made, "ledger")
        write_report(results, made)
        results.finish()
        return (run.notebooks / "report.html").read_text(encoding="utf-8")

    page = write()
    assert write() == page
    links = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert {link for link in links if not link.startswith(("#", "data:image/png;base64,"))} == {"01_first.ipynb"}
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
    assert str(run.figures.parent.parent) not in page
    for text in (
        "The first &lt;one&gt;",
        "There &lt;is&gt; a gain.",
        "Published &amp; computed",
        "a &lt; b",
        "supported",
    ):
        assert text in page
    assert "Phantom images with known anatomy" in page
    listed = json.loads((run.figures / "99_ledger.json").read_text())["files"]
    assert set(listed) == {"figures/smoke/ledger.csv", "runs/smoke/report.html"}


def test_a_long_table_is_cut_and_says_so(run):
    results = Results(run, "01_first")
    results.table(FRAME, "table_1")
    results.table(pd.DataFrame({"row": range(500)}), "long")
    results.finish()
    page = Results(run, "99_ledger")
    write_report(page, claims_ledger(run, ["01_first"], claims(GAIN), NUMBERS))
    assert "and 492 more rows in long.csv" in (run.notebooks / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("read", [lambda table: table, lambda table: table.astype(str).replace("nan", "")])
def test_a_table_says_in_words_where_an_interval_is_none(read):
    """As it is in memory, and as it is read from its file."""
    none = math.nan
    cells = [
        (0.2, 0.9, 8, None),
        (none, none, 1, "one patient: no interval"),
        (1.0, 1.0, 1, "one patient: no interval"),
        (none, none, 3, "3 patients: no interval"),
        (0.2, 0.9, 3, None),
        (0.0, 0.0, 8, "nothing varies: no interval"),
        (none, none, 8, "no interval"),
        (none, none, none, None),  # none was to be expected
    ]
    table = pd.DataFrame(cells, columns=["low", "high", "patients", "words"])
    words, table = table.pop("words"), read(table)
    said = in_words(table.assign(t_low=table["low"], t_high=table["high"]))
    beside = in_words(read(pd.DataFrame({"estimate": [0.0, none], "low": [none, none], "high": [none, none]})))
    assert beside["low"].replace("", none).isin(["no interval"]).tolist() == [True, False]
    expected = table["low"].astype(object).where(words.isna(), words)
    assert said["low"].astype(str).tolist() == expected.astype(str).tolist()
    assert said["high"].astype(str).tolist() == table["high"].mask(words.notna(), "").astype(str).tolist()
    same = table["low"].eq(table["high"]) & ~table["low"].isin([""])
    assert (said["t_low"] == "nothing varies: no interval").tolist() == same.tolist()  # patients are those of `low`
    whole = table[words.isna()]
    assert in_words(whole) is whole
    assert in_words(read(pd.DataFrame({"screened": [2.5, math.inf]})))["screened"].tolist()[1] == "unbounded"


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.04, -0.15, 0.2), "0.04 (-0.15 to 0.20)"),
        ((0.04, 0.04, 0.04), "0.04 (nothing varies: no interval)"),
        ((0.04, math.nan, math.nan), "0.04 (no interval)"),
        ((math.nan, math.nan, math.nan), "undefined"),
    ],
)
def test_a_sentence_says_in_words_where_an_interval_is_none(ends, words):
    assert estimated(*ends, ".2f") == words


def test_a_notebook_displays_its_tables_in_words(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr(shown, "get_ipython", lambda: shell)
    shown.in_notebooks()
    table = pd.DataFrame({"low": [0.5, 1.0], "high": [0.7, 1.0], "patients": [9, 1], "sd": [0.1, math.nan]})
    data, _ = shell.display_formatter.format(table)
    for kind in ("text/html", "text/plain"):
        assert data[kind].count("one patient: no interval") == 1
    assert "NaN" not in data["text/html"]
    several = table.head(1).T.stack().to_frame().T  # columns of two levels
    assert "NaN" not in shell.display_formatter.format(several)[0]["text/html"]
    whole = table.head(1)
    assert shell.display_formatter.format(whole)[0] == {
        "text/html": whole._repr_html_(),
        "text/plain": repr(whole),
    }


def test_a_diagram_is_drawn_from_what_it_says():
    boxes = {"a": diagram.Box(0, 0, "first\nbox"), "b": diagram.Box(3, 1, "second")}
    figure, axis = plt.subplots()
    table = diagram.draw(axis, boxes, [diagram.Arrow("a", "b", "feeds"), diagram.Arrow("b", "a")], "(a)")
    assert table.to_dict("records") == [
        {"diagram": "(a)", "from": "first box", "to": "second", "label": "feeds"},
        {"diagram": "(a)", "from": "second", "to": "first box", "label": ""},
    ]
    assert len(axis.patches) == 4
    tail = axis.patches[2].get_path().vertices  # leaves the first box at its edge, not in its middle
    assert axis.transData.inverted().transform(axis.patches[2].get_transform().transform(tail))[0][0] >= 0.45
    with pytest.raises(KeyError):
        diagram.draw(axis, boxes, [diagram.Arrow("a", "c")])
    plt.close(figure)


def test_colours_mean_one_thing_each():
    pairs = [("carcinoma", "control"), ("us", "mri"), ("published", "computed"), ("patients", "images")]
    assert {name for pair in pairs for name in pair} == set(style.COLOURS)
    assert all(style.COLOURS[a] != style.COLOURS[b] for a, b in pairs)
