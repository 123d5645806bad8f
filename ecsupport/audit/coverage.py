"""Coverage: every number in a copy of the paper's text has a row in numbers.csv or a stated reason to have none.

Serves the whole paper. The text itself is not part of this repository; give the path of a copy:

    python -m ecsupport.audit.coverage PAPER.txt

prints how many numbers there are for each reason and exits with status 1 where a number is unexplained or a row of
numbers.csv is not found on its line.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ecsupport.core.errors import UserError
from ecsupport.paper.published import load_numbers

MATCHED, UNEXPLAINED, NOT_FOUND = "in numbers.csv", "unexplained", "row without a number in the text"

_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|million|once|twice|half|"
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|twofold|threefold"
)
# In order: a number printed twice where a multiplication sign was lost; a mean and SD where a plus-minus sign was
# lost, both to the same number of places; thousands with commas; scientific notation; plain; words.
_TOKEN = re.compile(
    r"(?P<side>\d{2,})(?=(?P=side)\s+pixels)"
    r"|\d\.\d{4}(?=\d\.\d{4})"
    r"|\d{1,3}(?:,\d{3})+(?!\d)"
    r"|\d+(?:\.\d+)?e[+-]?\d+"
    r"|\d+\.\d+"
    r"|\d+"
    rf"|\b(?:one-third|two-thirds|one-half|{_WORDS})\b",
    re.IGNORECASE,
)
_NOUNS = (
    "major|key|core|sub-modules|key limitations|challenges?|generative|mapping|domains?|discriminators|modalities|"
    "generator maps|domain to the other|maps images|stages of|kinds of"
)
# Why a number has no row: the reason and where it applies; the first that covers a number counts. A pattern covers
# what it matches, or only its group `number` where it has one.
REASONS: tuple[tuple[str, str], ...] = (
    ("reference list", r"^- \[\d+\] .*"),
    ("citation", r"\[\d+(?:,\s*\d+)*\]"),
    ("grant", r"\(Grant Nos?\. [^)]*\)"),
    ("equation number", r"^\| \(\d+\) \|.*|\bEquation \(\d+\)"),
    (
        "figure, table or section number",
        r"\b(?:Figures?|Tables?|Section|Algorithm) [A-Z]?\d+(?:\.\d+)*(?:[-–][A-Z]?\d+)?",
    ),
    ("label of an experiment or reader", r"\| #\d+ \||\bExp #\d+|\bExperiment \d+:"),
    ("list marker", r"^\d+\.$|(?:^|: |, |; |and )(?P<number>\d+)\) "),
    ("name", r"\b(?:MobileNet-V2|StarGAN v2|T[12]-weighted|F1-score|Core i9|The First Affiliated)\b"),
    ("word that orders or counts what is being said", r"\b(?:First|Second), "),
    ("word that orders or counts what is being said", r"\b(?:first|second) (?:challenge|attention layer|applying)\b"),
    ("word that orders or counts what is being said", r"\b(?:: first|by first)\b|: first,"),
    (
        "word that orders or counts what is being said",
        rf"\b(?P<number>[Oo]ne|[Tt]wo|[Tt]hree)\b(?: \w+)? (?:{_NOUNS})\b",
    ),
    ("word that orders or counts what is being said", r"\b(?:are twofold|[Oo]ne [Tt]rue|than in one)\b"),
)


class Token(NamedTuple):
    """A number as it stands in the text: 1-based line and column, and the string."""

    line: int
    column: int
    text: str


def tokens(text: str) -> list[Token]:
    """Every number in figures or words, in reading order; strings run together by lost signs are separated."""
    return [
        Token(number, found.start() + 1, found.group())
        for number, line in enumerate(text.splitlines(), start=1)
        for found in _TOKEN.finditer(line)
    ]


def cover(text: str, numbers: pd.DataFrame) -> pd.DataFrame:
    """Match every number of a text to a row of numbers.csv or to a reason.

    text: the paper's text, whose lines the column `line` of `numbers` counts;  numbers: as `load_numbers` returns
    A row is matched on its own line, to the first number not yet taken that reads exactly as printed, unit included;
    each is used once. Returns columns line, column, token, id, reason, in reading order; rows of numbers.csv that
    are not found on their line follow at the end.
    """
    lines = text.splitlines()
    free = {number: [] for number in range(1, len(lines) + 1)}
    for token in tokens(text):
        free[token.line].append(token)
    of_token: dict[Token, tuple[str, str]] = {}
    absent = []
    for row in numbers[numbers["status"] == "printed"].itertuples(index=False):
        here = [t for t in free.get(row.line, []) if t not in of_token and not _reason(lines[t.line - 1], t)]
        taken = next((t for t in here if _reads(lines[t.line - 1], t, row.printed)), None)
        if taken:
            of_token[taken] = (row.id, MATCHED)
        else:
            absent.append((row.line, 0, row.printed, row.id, NOT_FOUND))
    found = []
    for token in (t for line in free.values() for t in line):
        row_id, reason = of_token.get(token, ("", _reason(lines[token.line - 1], token) or UNEXPLAINED))
        found.append((*token, row_id, reason))
    return pd.DataFrame(found + absent, columns=["line", "column", "token", "id", "reason"])


def coverage(path: str | Path) -> pd.DataFrame:
    """`cover` for a text file and the repository's numbers.csv. UserError where the file cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}). Give a UTF-8 text file of the paper.") from None
    return cover(text, load_numbers())


def _reads(line: str, token: Token, printed: str) -> bool:
    """Whether the text at the token reads as the printed string, which may hold a unit or a month besides."""
    inner = _TOKEN.search(printed)
    if inner is None or inner.group().lower() != token.text.lower():
        return False
    start = token.column - 1 - inner.start()
    end = start + len(printed)
    if start < 0 or line[start:end].lower() != printed.lower():
        return False
    rest = line[end : end + 1]  # no longer unit than the row says: `95` is not `95%`
    return rest != "%" and not (rest.isalpha() and printed[-1:].isalpha())


def _reason(line: str, token: Token) -> str:
    for reason, pattern in REASONS:
        for found in re.finditer(pattern, line):
            start, end = found.span("number") if "number" in found.groupdict() and found["number"] else found.span()
            if start <= token.column - 1 < end:
                return reason
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Print the numbers by reason and each unexplained one; 0 where none is left, 1 where one is, 2 for bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if len(arguments) != 1:
            raise UserError("Give the path of one text file: python -m ecsupport.audit.coverage PAPER.txt")
        found = coverage(arguments[0])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for reason, number in found["reason"].value_counts().items():
        print(f"{number:5d}  {reason}")
    left = found[found["reason"].isin([UNEXPLAINED, NOT_FOUND])]
    for row in left.itertuples(index=False):
        print(f"line {row.line}, column {row.column}: {row.token} {row.reason} {row.id}".rstrip())
    print(f"{(found['reason'] == UNEXPLAINED).sum()} unexplained")
    return int(len(left) > 0)


if __name__ == "__main__":
    sys.exit(main())
