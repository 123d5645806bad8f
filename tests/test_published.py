"""What the paper prints: a string becomes a value in one way only, and every row of the two files obeys it."""

import hashlib
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsupport.core.errors import UserError
from ecsupport.paper import published

FACTORS = {"": "1", "%": "0.01", "K": "1e3", "M": "1e6", "G": "1e9", "GHz": "1e9", " GFLOPs": "1e9", " s": "1"}
METRICS = ["Accuracy", "Sensitivity", "Specificity", "Precision", "F1-score", "ROC AUC"]


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    return published.load_numbers()


@pytest.fixture(scope="module")
def claims(numbers: pd.DataFrame) -> pd.DataFrame:
    return published.load_claims(numbers=numbers)


# --- one printed string, one value ---


@given(st.decimals(0, 10**6, places=4), st.integers(0, 4), st.sampled_from(sorted(FACTORS)), st.booleans())
def test_value_agrees_with_decimal_arithmetic(number, places, suffix, commas):
    printed = f"{number:{',' if commas else ''}.{places}f}{suffix}"
    digits = printed.removesuffix(suffix) if suffix else printed
    assert published.parse_printed(printed) == float(Decimal(digits.replace(",", "")) * Decimal(FACTORS[suffix]))
    assert published.decimals(printed) == places


@given(st.integers(1, 99), st.integers(-12, 12))
def test_scientific_notation(mantissa, power):
    assert published.parse_printed(f"{mantissa}e{power}") == float(f"{mantissa}e{power}")
    assert published.half_unit(f"{mantissa}e{power}") == pytest.approx(0.5 * 10.0**power)


@given(st.floats(0, 1), st.integers(0, 4), st.booleans())
def test_rounding_never_moves_a_value_by_more_than_half_a_unit(share, places, percent):
    printed = f"{100 * share:.{places}f}%" if percent else f"{share:.{places}f}"
    assert abs(published.parse_printed(printed) - share) <= published.half_unit(printed) * (1 + 1e-9)
    wider = share + 2.1 * published.half_unit(printed)  # the next printed value: the tolerance is not larger either
    assert abs(published.parse_printed(printed) - wider) > published.half_unit(printed)


def test_words_and_dates():
    parse = published.parse_printed
    assert [parse("three"), parse("sixth"), parse("one week", "days")] == [3, 6, 7]
    assert parse("two-thirds") + parse("one-third") == 1
    assert parse("March 2018", "date") == 201803 < parse("September 2025", "date") == 202509
    assert published.half_unit("two-thirds") == published.half_unit("March 2018") == 0


@pytest.mark.parametrize("text", ["", "about 5", "1,2", "0.06360.0015", "0.9866 0.0044", "5 %%", "٣", "5\n", "nan"])
def test_unreadable_text_is_refused(text):
    with pytest.raises(UserError, match="not a printed number"):
        published.parse_printed(text)


@pytest.mark.parametrize(
    ("text", "unit"), [("99.5%", "seconds"), ("0.289G", "parameters"), ("7", "date"), ("3.5GHz", "bytes")]
)
def test_suffix_must_suit_the_unit(text, unit):
    published.parse_printed(text)
    with pytest.raises(UserError, match=f"unit '{unit}'"):
        published.parse_printed(text, unit)


# --- the transcription ---


@pytest.mark.parametrize(
    ("name", "cells", "missing"),
    [
        ("table_1", 5 * 3, 15),  # five translators: FID, KID, parameters, all lost
        ("table_2", 6 * 5 * 2, 0),
        ("table_3", 2 * 4 + 6 * 4 * 2, 0),
        ("table_4", 3 * 6 * 2, 0),
        ("table_5", 4 + 3 * 4 + 6 * 4 * 2, 4),  # the four values of k are lost
        ("table_6", 3 * 6 * 4 + 6 * 2, 0),
        ("table_7", 4 * 6, 0),
        ("table_8", 10 * 3 * 3 + 3 * 3 * 2, 0),
    ],
)
def test_every_table_is_complete(numbers, name, cells, missing):
    cell_rows = numbers[(numbers["where"] == name) & (numbers["row"] != "")]
    assert len(cell_rows) == cells
    assert (cell_rows["status"] == "missing").sum() == missing
    assert published.table(numbers, name).notna().sum().sum() == cells - missing


@pytest.mark.parametrize(
    ("row_id", "value"),
    [
        ("text.abstract.sensitivity", 0.995),
        ("text.abstract.flops", 289e6),
        ("text.results.data.participants", 7951),
        ("text.results.sg_cyclegan.kid.sd", 0.0015),
        ("text.results.lsnet.f1_score.mean", 0.9790),
        ("text.methods.sg_cyclegan.learning_rate", 2e-4),
        ("table_2.sensitivity.sg_cyclegan.mean", 0.8160),
        ("table_3.parameters.mobilenet_v2.value", 1_013_000),
        ("table_5.gpu_memory.full_attention.value", 10.1e9),
        ("table_6.exp_1.sensitivity.mean", 0.9940),
        ("table_7.lynch_syndrome.npv.value", 0.9966),
        ("table_8.senior_2.sensitivity.low", 0.85),
    ],
)
def test_spot_values(numbers, row_id, value):
    assert numbers.at[row_id, "value"] == value


def test_rows_stand_in_order_of_print_and_keep_what_was_printed(numbers):
    printed = numbers[numbers["status"] == "printed"]
    assert numbers["line"].dropna().is_monotonic_increasing
    assert printed["line"].notna().all() and printed["value"].notna().all()
    assert numbers.loc[numbers["status"] == "missing", "value"].isna().all()
    assert printed.loc[printed["unit"] == "proportion", "value"].between(0, 1).all()
    assert set(numbers["unit"]) == set(published.UNITS)  # the vocabulary is closed and all of it used


def test_wide_table_keeps_the_printed_layout(numbers):
    six = published.table(numbers, "table_6")
    assert list(six.index) == ["Exp #1", "Exp #2", "Exp #3", "Overall"]
    assert list(six.columns.get_level_values("column").unique()) == METRICS
    runs = six.loc[["Exp #1", "Exp #2", "Exp #3"]]
    low, mean, high = (runs.xs(part, axis=1, level="part") for part in ("low", "mean", "high"))
    assert np.all(low < mean) and np.all(mean < high)
    eight = published.table(numbers, "table_8").iloc[:10]
    low, value, high = (eight.xs(part, axis=1, level="part") for part in ("low", "value", "high"))
    assert np.all(low <= value) and np.all(value <= high)
    with pytest.raises(UserError, match=r"'table_9'.*table_8"):
        published.table(numbers, "table_9")


# --- the claims ---


def test_every_claim_can_be_decided(numbers, claims):
    decided = claims[claims["direction"] != "descriptive"]
    assert decided["margin"].notna().all()
    assert (decided.loc[decided["direction"] == "=", "margin"] == 0).all()
    assert (decided.loc[decided["direction"] == "within", "margin"] > 0).all()
    assert set(claims["notebook"]) == set(published.NOTEBOOKS)
    assert claims["id"].str.fullmatch(r"[a-z0-9_]+").all()
    assert not claims["estimand"].duplicated().any()  # two claims never test one quantity
    assert set(claims["where"]) <= set(numbers["where"])


TRAINING = (
    47,
    "45548c6ee0d1560edd3726d58b8499a0c2472b6fe4090e5e9d346a1e20c2fb74",
)  # number of the claims that rest on training, SHA-256 of their ids


def test_the_claims_that_rest_on_training_are_those_fixed_before_training(claims):
    ids = sorted(claims.index[claims["rests_on"] == published.TRAINING])
    assert (len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()) == TRAINING


def test_only_differences_that_rest_on_training_have_a_smallest_effect(claims):
    of = claims[claims["smallest_effect"] != ""]
    assert (of["rests_on"] == published.TRAINING).all() and (of["margin"] == 0).all()
    assert not of["estimand"].str.contains("smallest difference|largest|standard deviation", regex=True).any()
    assert set(of["smallest_effect"]) == {"0.02", "0.05", "5 floor"}
    assert (of["unit"].eq("distance") == of["smallest_effect"].str.endswith("floor")).all()


@pytest.mark.parametrize(
    ("text", "floor", "expected"),
    [("0.01", None, 0.01), ("0.5 floor", 0.3, 0.15), ("0.5 floor", None, math.nan), ("0.5 floor", -0.1, math.nan),
     ("", 0.3, math.nan)],
)  # fmt: skip
def test_a_smallest_effect_is_a_number_or_a_part_of_the_floor(text, floor, expected):
    assert published.smallest_effect(text, floor) == pytest.approx(expected, nan_ok=True)


# --- faults: one message, naming the row ---

NUMBERS, CLAIMS = published.PAPER / "numbers.csv", published.PAPER / "claims.csv"


def _mutate(source: Path, target: Path, change) -> Path:
    frame = pd.read_csv(source, dtype=str, keep_default_na=False)
    change(frame).to_csv(target, index=False)
    return target


def _set(row_id: str, **cells: str):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        assert (frame["id"] == row_id).sum() == 1
        frame.loc[frame["id"] == row_id, list(cells)] = list(cells.values())
        return frame

    return change


CELL, LOST = "table_6.exp_1.sensitivity.mean", "table_1.unit.fid.value"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="unit"), "header: .*unit"),
        (lambda f: f.assign(comment="x"), "header: .*comment"),
        (lambda f: f[f.columns[::-1]], "header: .*order"),
        (lambda f: pd.concat([f, f.iloc[[40]]]), "text.*stands twice"),
        (_set(CELL, id=""), "[0-9]+: the id is empty"),
        (_set(CELL, value="0.9941"), f"{CELL}: value 0.9941 .*'0.9940'"),
        (_set(CELL, value=""), f"{CELL}: value is ''"),
        (_set(CELL, printed="0.99.40"), f"{CELL}: printed string unreadable"),
        (_set(CELL, unit="percent"), f"{CELL}: unit is 'percent'"),
        (_set(CELL, unit="date"), f"{CELL}: .*cannot be read in the unit"),
        (_set(CELL, part="median"), f"{CELL}: part is 'median'"),
        (_set(CELL, status="lost"), f"{CELL}: status is 'lost'"),
        (_set(CELL, line="0"), f"{CELL}: line is '0'"),
        (_set(LOST, line="after 17"), f"{LOST}: line is 'after 17'"),
        (_set(LOST, value="99"), f"{LOST}: a missing number has"),
    ],
)
def test_faulty_numbers_are_named(tmp_path, change, message):
    path = _mutate(NUMBERS, tmp_path / "numbers.csv", change)
    with pytest.raises(UserError, match=rf"numbers\.csv, row {message}"):
        published.load_numbers(path)


CLAIM = "lsnet_beats_mobilenet_v2_sensitivity"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="margin"), "header: .*margin"),
        (lambda f: pd.concat([f, f.iloc[[3]]]), ".*stands twice"),
        (_set(CLAIM, margin=""), f"{CLAIM}: margin is ''"),
        (_set(CLAIM, margin="nan"), f"{CLAIM}: margin is 'nan'"),
        (_set(CLAIM, direction="better"), f"{CLAIM}: direction is 'better'"),
        (_set(CLAIM, direction="descriptive"), f"{CLAIM}: a descriptive claim has a margin"),
        (_set(CLAIM, published="table_3.sensitivity.lsnet"), f"{CLAIM}: published is 'table_3.sensitivity.lsnet'"),
        (_set(CLAIM, rests_on="luck"), f"{CLAIM}: rests_on is 'luck'"),
        (_set(CLAIM, smallest_effect="small"), f"{CLAIM}: smallest_effect is 'small'"),
        (_set(CLAIM, smallest_effect="0.5 floor"), f"{CLAIM}: smallest_effect .* A distance"),
        (_set(CLAIM, margin="0.05"), f"{CLAIM}: smallest_effect is '0.05'. Only a difference with margin 0"),
        (_set(CLAIM, notebook="11_more"), f"{CLAIM}: notebook is '11_more'"),
        (_set(CLAIM, estimand=""), f"{CLAIM}: estimand is empty"),
    ],
)
def test_faulty_claims_are_named(tmp_path, numbers, change, message):
    path = _mutate(CLAIMS, tmp_path / "claims.csv", change)
    with pytest.raises(UserError, match=rf"claims\.csv, row {message}"):
        published.load_claims(path, numbers)


def test_absent_and_torn_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        published.load_numbers(tmp_path / "none.csv")
    torn = tmp_path / "torn.csv"
    torn.write_text('id,where\n"a,b\n')
    with pytest.raises(UserError, match=r"torn\.csv"):
        published.load_claims(torn)
