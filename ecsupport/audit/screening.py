"""Rules of the audit for Table 7 and the text around it: predictive values from sensitivity, specificity, prevalence.

The inputs are taken as printed; the printed likelihood ratio confirms that they were used so. Rules take `cells` and
`against` as in `arithmetic`.
"""

from fractions import Fraction

import pandas as pd

from ecsupport.audit.arithmetic import CONSISTENT, Finding, one, verdict
from ecsupport.audit.compatible import bounds, exact
from ecsupport.evaluation.screening_value import screening_value
from ecsupport.paper.published import decimals, half_unit

_FORMULA = {
    "PPV": "ppv",
    "NPV": "npv",
    "LR+": "lr_positive",
    "Expected Screen-Positive Rate": "screen_positive_rate",
    "NNS": "nns",
}
_MARGIN = Fraction(1, 10**11)  # far above the rounding error of the formulas, far below a printed digit


def screening_table(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """Cells of Table 7 by the formulas of Appendix C; against: one sensitivity, one specificity, the prevalences."""
    se, sp = (exact(one(against[against["column"] == c])["printed"]) for c in ("Sensitivity", "Specificity"))
    prevalence = {c["row"]: exact(c["printed"]) for _, c in against.iterrows() if c["column"] == "Prevalence"}
    findings = []
    for _, cell in cells.iterrows():
        p = prevalence[cell["row"]]
        computed = _screening(cell["column"], se, sp, p)
        low, high = bounds(cell["printed"])
        holds = low - _MARGIN <= computed <= high + _MARGIN
        said = f"Se {float(se):g}, Sp {float(sp):g}, P {float(p):g} give {_digits(computed, cell)}"
        if not holds:
            said += _hint(computed, cell, se, sp)
        findings.append(Finding(cell["id"], verdict(holds), f"{said}; printed {cell['printed']}"))
    return findings


def screening_prevalence(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """A prevalence of Table 7 against the screen-positive rate beside it, solved for the prevalence."""
    se, sp = (exact(one(against[against["column"] == c])["printed"]) for c in ("Sensitivity", "Specificity"))
    rates = {c["row"]: c["printed"] for _, c in against.iterrows() if c["column"] == "Expected Screen-Positive Rate"}
    findings = []
    for _, cell in cells.iterrows():
        ends = [(rate - (1 - sp)) / (se + sp - 1) for rate in bounds(rates[cell["row"]])]
        low, high = bounds(cell["printed"])
        said = f"a screen-positive rate of {rates[cell['row']]} needs {float(ends[0]):.4%} to {float(ends[1]):.4%}"
        findings.append(Finding(cell["id"], verdict(ends[0] <= high and low <= ends[1]), said))
    return findings


def screening_inputs(cells: pd.DataFrame, against: pd.DataFrame) -> list[Finding]:
    """The sensitivity and specificity said to underlie Table 7 give its cells; against: the whole table."""
    derived = against[against["column"] != "Prevalence"]
    checked = screening_table(derived, pd.concat([cells, against[against["column"] == "Prevalence"]]))
    off = [f.id.removesuffix(".value").removeprefix("table_7.") for f in checked if f.verdict != CONSISTENT]
    se, sp = (exact(one(cells[cells["column"] == c])["printed"]) for c in ("Sensitivity", "Specificity"))
    ratio = float(_screening("LR+", se, sp, Fraction(1, 2)))
    witness = f"{len(off)} of {len(derived)} cells lie outside rounding, LR+ would be {ratio:.2f}"
    return [Finding(i, verdict(not off), witness) for i in cells["id"]]


def _screening(column: str, se: Fraction, sp: Fraction, p: Fraction) -> Fraction:
    return Fraction(float(screening_value(float(se), float(sp), float(p))[_FORMULA[column]]))


def _hint(computed: Fraction, cell: pd.Series, se: Fraction, sp: Fraction) -> str:
    """What would explain a cell that is off: a digit less, digits cut, another prevalence."""
    printed, step = exact(cell["printed"]), 2 * Fraction(repr(half_unit(cell["printed"])))
    if decimals(cell["printed"]) and round(computed / (10 * step)) * 10 * step == printed:
        return "; rounded to one decimal fewer and printed with a zero it would be as printed"
    if computed // step * step == printed:
        return "; with further digits cut off instead of rounded it would be as printed"
    if cell["column"] == "PPV":
        ratio = se / (1 - sp)
        return f"; a prevalence of {float(printed / (printed + ratio * (1 - printed))):.4%} would give it"
    return ""


def _digits(value: Fraction, cell: pd.Series) -> str:
    places = decimals(cell["printed"]) + 2
    return f"{100 * float(value):.{places}f}%" if cell["printed"].endswith("%") else f"{float(value):.{places}f}"
