"""The audit: every number is judged, planted faults are found where they are, and what agrees is left in peace."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.audit.arithmetic import VERDICTS, sd_range
from ecsupport.audit.compatible import FIVE
from ecsupport.audit.rules import AUDIT_COLUMNS, RULES_FILE, audit, load_rules, rule_functions, worst
from ecsupport.core.errors import UserError
from ecsupport.evaluation.classification import Counts, metrics_from_counts
from ecsupport.paper import published

NAMES = dict(zip(FIVE, ("Sensitivity", "Specificity", "Accuracy", "Precision", "F1-score"), strict=True))


@pytest.fixture(scope="module")
def numbers():
    return published.load_numbers()


@pytest.fixture(scope="module")
def rules():
    return load_rules()


@pytest.fixture(scope="module")
def audited(numbers, rules):
    return audit(numbers, rules)


def said(audited, row_id, rule):
    rows = audited[(audited["id"] == row_id) & (audited["rule"] == rule)]
    assert len(rows) >= 1, f"{rule} does not judge {row_id}"
    return rows.iloc[0]


# --- the whole audit ---


def test_every_number_is_judged_with_a_witness(numbers, audited):
    assert list(audited.columns) == AUDIT_COLUMNS
    assert list(dict.fromkeys(audited["id"])) == numbers["id"].tolist()  # all, in order of print
    assert set(audited["verdict"]) == set(VERDICTS) and (audited["witness"].str.len() > 5).all()
    assert not audited.duplicated(["id", "rule", "witness"]).any()
    lost = numbers.index[numbers["status"] == "missing"]
    assert (audited[audited["id"].isin(lost)]["verdict"] == "not decidable").all()
    assert set(worst(audited).index) == set(numbers["id"])


def test_every_rule_is_in_use_and_documented(rules):
    functions = rule_functions()
    assert set(rules["rule"]) == set(functions)
    assert all(function.__doc__ for function in functions.values())
    assert (rules[["id", "rule", "cells"]] != "").all(axis=None) and rules["id"].is_unique


@pytest.mark.parametrize(
    ("row_id", "rule", "verdict", "witness"),
    [
        ("text.results.data.participants", "total", "consistent", "651 + 7,300 = 7,951"),
        ("text.results.data.ec_images", "total", "consistent", "3,354"),
        ("text.results.data.training_normal_images", "share", "inconsistent", "69.9"),
        ("text.results.data.mri_split_ratio.training", "whole_parts", "consistent", "332 + 166"),
        ("text.results.sg_cyclegan.training_us_images", "same_quantity", "inconsistent", "64 apart"),
        ("table_2.sensitivity.unit.mean", "runs_at_n", "inconsistent", "no k of 3 x 336"),
        ("table_2.sensitivity.unit.mean", "runs_at_any_n", "consistent", "71/71, 73/71, 83/61 of 96/96"),
        ("table_2.sensitivity.unit.mean", "shared_n", "consistent", "96 + 96"),
        ("table_3.f1_score.mobilevit.sd", "runs_at_n", "consistent", "325/325, 326/319, 333/325 of 336/336"),
        ("table_3.roc_auc.lsnet.mean", "best", "consistent", "0.9812"),
        ("text.results.lsnet.f1_score.mean", "runs_at_n", "inconsistent", "0.9838"),
        ("text.results.lsnet.precision.mean", "runs_at_n", "consistent", "all but f1"),
        ("table_4.no_gradient_distillation.accuracy.mean", "runs_at_any_n", "consistent", "of 200/200"),
        ("table_4.full_model.roc_auc.mean", "best", "inconsistent", "0.9909"),
        ("table_5.accuracy.full_attention.mean", "identity", "inconsistent", "0.98025 to 0.98035"),
        ("table_6.exp_2.f1_score.mean", "one_run_at_n", "consistent", "TP/TN 334/325 of 336/336"),
        ("table_6.exp_2.f1_score.low", "bootstrap_replay", "consistent", "resampled"),
        ("table_6.overall.roc_auc.sd", "group_row", "consistent", "agrees with ddof 0;"),
        ("table_7.lynch_syndrome.ppv.value", "screening_table", "inconsistent", "one decimal fewer"),
        ("table_7.general_screening.nns.value", "screening_table", "consistent", "5025.1"),
        ("text.results.screening.input_sensitivity", "screening_inputs", "inconsistent", "LR+ would be 21.67"),
        ("text.results.screening.ppv_general", "screening_table", "inconsistent", "0.0101%"),
        ("table_8.junior.sensitivity.sd", "group_row", "consistent", "agrees with ddof 1;"),
        ("table_8.senior_3.sensitivity.low", "interval_at_n", "consistent", "at n = 336 by Wald"),
        ("table_8.junior_1.specificity.low", "interval_at_n", "inconsistent", "Wald 2418"),
        ("table_8.junior_1.sensitivity.low", "interval_shared_n", "consistent", "Wald none, Wilson 453"),
        ("table_8.junior_1.roc_auc.value", "identity", "consistent", "0.75500 to 0.76500"),
        ("table_8.junior_1.roc_auc.low", "reader_auc_interval", "inconsistent", "positives or more"),
    ],
)
def test_known_facts(audited, row_id, rule, verdict, witness):
    found = said(audited, row_id, rule)
    assert found["verdict"] == verdict
    assert witness in found["witness"]


def test_the_same_audit_twice(numbers, rules, audited):
    pd.testing.assert_frame_equal(audit(numbers, rules), audited)


# --- planted rows: what was computed from counts and printed agrees, one altered number does not ---


def table_of(cells, where="table_x", unit="proportion"):
    """numbers.csv rows from (row, column, part, printed)."""
    frame = pd.DataFrame(cells, columns=["row", "column", "part", "printed"])
    ids = [
        f"{where}.{r}.{c}.{p}".replace(" ", "_")
        for r, c, p in zip(frame["row"], frame["column"], frame["part"], strict=True)
    ]
    frame = frame.assign(id=ids, where=where, unit=unit, status="printed", line=1, note="")
    frame["value"] = frame["printed"].map(published.parse_printed)
    return frame.set_index("id", drop=False).rename_axis(None)


def check(rule, cells="*", against="", options=""):
    columns = ["id", "rule", "cells", "against", "options", "note"]
    return pd.DataFrame([("planted", rule, cells, against, options, "")], columns=columns)


def runs_row(pairs, n, ddof, places=4):
    tp, tn = np.array(pairs).T
    values = metrics_from_counts(Counts(tp=tp, fp=n - tn, fn=n - tp, tn=tn))
    return [
        ("model", NAMES[m], part, f"{number:.{places}f}")
        for m in FIVE
        for part, number in (("mean", values[m].mean()), ("sd", values[m].std(ddof=ddof)))
    ]


AT = "n_positive={0} n_negative={0}"


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 336), st.sampled_from([0, 1]), st.data())
def test_rows_made_from_counts_are_consistent(n, ddof, data):
    rate = st.floats(0.7, 1)
    pairs = [(round(data.draw(rate) * n), round(data.draw(rate) * n)) for _ in range(3)]
    row = table_of(runs_row(pairs, n, ddof))
    assert (audit(row, check("runs_at_n", options=AT.format(n)))["verdict"] == "consistent").all()
    means = row[row["part"] == "mean"]
    judged = audit(
        means, pd.concat([check("identity", options="of=accuracy"), check("no_redundancy").assign(id="rest")])
    )
    assert "inconsistent" not in set(judged["verdict"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.sampled_from([-1, 1]), st.integers(30, 300))
def test_an_altered_number_is_found(place, sign, off):
    pairs = [(279, 326), (307, 324), (324, 310)]
    cells = runs_row(pairs, 336, 0)
    row, column, part, printed = cells[place]
    altered = float(printed) + sign * off / 10_000
    if 0 < altered < 1:
        cells[place] = (row, column, part, f"{altered:.4f}")
        judged = audit(table_of(cells), check("runs_at_n", options=AT.format(336)))
        assert "inconsistent" in set(judged[judged["column"] == f"{column} {part}"]["verdict"])


def test_a_size_is_told_from_the_row_alone():
    row = table_of(runs_row([(183, 196), (190, 189), (195, 193)], 200, 0))
    assert set(audit(row, check("runs_at_n", options=AT.format(336)))["verdict"]) == {"inconsistent"}
    found = audit(row, check("runs_at_any_n", options="up_to=250"))
    assert set(found["verdict"]) == {"consistent"} and "only 200 + 200" in found["witness"][0]


@pytest.mark.parametrize(
    ("rule", "cells", "options", "verdict"),
    [
        ("total", ["10", "7", "3"], "", "consistent"),
        ("total", ["10", "7", "4"], "", "inconsistent"),
        ("same_quantity", ["99.5%", "0.9950"], "", "consistent"),
        ("same_quantity", ["0.9836", "0.9837"], "", "inconsistent"),
        ("same_quantity", ["36", "35.79"], "", "consistent"),
        ("at_most", ["8", "7"], "", "inconsistent"),
        ("room_for", ["8", "3", "5"], "", "consistent"),
        ("share", ["2", "3"], "share=2/3 tolerance=0", "consistent"),
        ("share", ["70", "100"], "share=4/5 tolerance=0.02", "inconsistent"),
        ("best", ["0.9", "0.8"], "highest=yes", "consistent"),
        ("best", ["0.9", "0.9"], "highest=yes", "not decidable"),
        ("best", ["0.9", "0.8"], "highest=no", "inconsistent"),
        ("not_above", ["11", "10"], "tolerance=0.1", "consistent"),
        ("lower_bound", ["5", "4", "7"], "", "inconsistent"),
        ("count_of", ["three", "1", "2", "9"], "", "consistent"),
        ("throughput", ["2", "1"], "", "not decidable"),
    ],
)
def test_arithmetic_rules_on_small_numbers(rule, cells, options, verdict):
    frame = table_of([(f"r{i}", "thing", "value", printed) for i, printed in enumerate(cells)], unit="ratio")
    first, rest = frame.index[0], " ".join(frame.index[1:])
    others = check("no_redundancy", rest).assign(id="rest")
    judged = audit(frame, pd.concat([check(rule, first, rest, options), others]))
    assert judged["verdict"][0] == verdict


def test_orders_and_ranges():
    frame = table_of([("a", "x", "low", "0.1"), ("a", "x", "value", "0.3"), ("a", "x", "high", "0.2")])
    assert set(audit(frame, check("ordered"))["verdict"]) == {"inconsistent"}
    falling = table_of([(f"r{i}", "x", "value", p) for i, p in enumerate(("3", "2", "2"))], unit="ratio")
    assert set(audit(falling, check("falling"))["verdict"]) == {"consistent"}
    assert set(audit(falling[::-1], check("falling", " ".join(falling.index[::-1])))["verdict"]) == {"inconsistent"}
    assert set(audit(falling, check("comparable", options="tolerance=0.4"))["verdict"]) == {"inconsistent"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.3, 0.9), min_size=2, max_size=6), st.sampled_from([0, 1]), st.sampled_from(["mean", "sd"]))
def test_group_rows_made_from_members_are_consistent(values, ddof, part):
    number = np.mean(values) if part == "mean" else np.std(values, ddof=ddof)
    members = [(f"m{i}", "Sensitivity", "value", f"{v:.2f}") for i, v in enumerate(values)]
    frame = table_of([("all", "Sensitivity", part, f"{number:.3f}"), *members])
    both = pd.concat([check("group_row", "*.all.*", "*.m*"), check("no_redundancy", "*.m*").assign(id="m")])
    assert audit(frame, both)["verdict"][0] == "consistent"
    off = table_of([("all", "Sensitivity", part, f"{number + 0.02:.3f}"), *members])
    if part == "mean":
        assert audit(off, both)["verdict"][0] == "inconsistent"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), min_size=2, max_size=5),
    st.sampled_from([0, 1]),
    st.data(),
)
def test_sd_range_holds_every_choice_and_is_reached(ends, ddof, data):
    members = [(low / 100, (low + width) / 100) for low, width in ends]
    least, most = sd_range(members, ddof)
    chosen = [data.draw(st.floats(low, high)) for low, high in members]
    assert least - 1e-12 <= np.std(chosen, ddof=ddof) <= most + 1e-12
    centre = np.linspace(0, 1.06, 10_601)[:, None]  # the least is that of the numbers nearest to some centre
    near = np.clip(centre, *np.array(members).T)
    assert near.std(axis=1, ddof=ddof).min() == pytest.approx(least, abs=1e-3)


# --- faults in the data name the row ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "no_such_rule"}, "settings: there is no rule 'no_such_rule'"),
        ({"options": "n=3"}, "settings: the options are 'n=3'"),
        ({"options": "n="}, "settings: 'n=' is no option"),
        ({"id": "stages"}, "stages: the id is empty or stands twice"),
    ],
)
def test_faulty_rules_are_named(tmp_path, rules, change, message):
    changed = rules.copy()
    for column, value in change.items():
        changed.loc[changed["id"] == "settings", column] = value
    changed.to_csv(tmp_path / "rules.csv", index=False)
    with pytest.raises(UserError, match=rf"rules\.csv, row {message}"):
        load_rules(tmp_path / "rules.csv")


def test_faulty_files_and_selections(tmp_path, numbers, rules):
    with pytest.raises(UserError, match="does not exist"):
        load_rules(tmp_path / "none.csv")
    rules.drop(columns="note").to_csv(tmp_path / "rules.csv", index=False)
    with pytest.raises(UserError, match="header: columns are missing"):
        load_rules(tmp_path / "rules.csv")
    with pytest.raises(UserError, match="planted: 'table_9.*' selects no number"):
        audit(numbers, check("no_redundancy", "table_9.*"))
    with pytest.raises(UserError, match=r"no check judges text\.abstract\.stages \(667 in all\)"):
        audit(numbers, check("missing", "table_1.*"))
    with pytest.raises(UserError, match=r"planted: table_1\..* is missing in print"):
        audit(numbers, check("no_redundancy"))
    with pytest.raises(UserError, match="one row is needed, 2 were selected"):
        audit(numbers, check("total", "text.results.data.ec_patients*", "text.results.data.ec_images"))
    assert RULES_FILE.is_file()
