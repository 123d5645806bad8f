"""README.md and FINDINGS.md quote committed evidence: they are current, lead somewhere, and type no number."""

import ast
import math
import re
import shutil
from urllib.parse import unquote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecsupport.core import paths
from ecsupport.core.errors import UserError
from ecsupport.paper.published import TRAINING
from ecsupport.reporting import audit_findings, code_findings, evidence, findings, readme, readme_plots, style
from ecsupport.reporting import training_findings as trainings
from ecsupport.reporting.ledger import CONSTRUCTION, REFUTED, SUPPORTED, UNDECIDED

PAGES = list(readme.BLOCKS)
MOST_BYTES = 150_000
LABEL = re.compile(r"\[[^\]]*\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"")
# what is a name or a definition, and no result
NAMES = re.compile(r"(Tables?|Equations?|block) \d+( to \d+)?|nominal 0\.95")


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A copy of notebooks and committed results, whose tables may be changed."""
    (tmp_path / "notebooks").mkdir()
    for file in (paths.ROOT / "notebooks").iterdir():
        if file.is_file():
            (tmp_path / "notebooks" / file.name).symlink_to(file)
    committed = tmp_path / "figures" / "reference"
    for name in ("smoke", "bench"):
        shutil.copytree(paths.ROOT / "figures" / "reference" / name, committed / name, ignore=lambda *_: ["trained"])
    monkeypatch.setenv("ECSUPPORT_NOTEBOOKS", str(tmp_path / "notebooks"))
    return committed


@pytest.fixture
def laptop(reference):
    """The same with a profile `laptop` whose trainings decided: tables are those of smoke, three verdicts are not."""
    shutil.copytree(reference / "smoke", reference / "laptop")
    file = reference / "laptop" / "ledger.csv"
    ledger = pd.read_csv(file, keep_default_na=False).astype(object).set_index("id")
    decided = {
        "lsnet_beats_mobilevit_auc": (SUPPORTED, 0.0312, 0.0201, 0.0423, ""),
        "lsnet_beats_efficientnet_auc": (REFUTED, -0.0124, -0.0202, -0.0046, ""),
        "lsnet_beats_mobilenet_v2_auc": (UNDECIDED, 0.0056, -0.0013, 0.0125, 0.0099),
    }
    for claim, values in decided.items():
        ledger.loc[claim, ["verdict", "computed", "low", "high", "detectable"]] = values
    ledger.reset_index().to_csv(file, index=False)
    return reference / "laptop"


def change(file, column, value, row=None):
    table = pd.read_csv(file, keep_default_na=False).astype(object)
    table.loc[slice(None) if row is None else table.iloc[:, 0] == row, column] = value
    table.to_csv(file, index=False)


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_replaced_and_missing_places_named(page):
    names = list(readme.BLOCKS[page])
    blocks = "\n".join(f"<!-- begin {name} -->\nwhat stood here\n<!-- end {name} -->" for name in names)
    made = readme.with_blocks(page, f"# Title\n{blocks}\nrest\n")
    assert "what stood here" not in made
    assert made.startswith(f"# Title\n<!-- begin {names[0]} -->\n")
    assert made.endswith("-->\nrest\n")
    assert readme.with_blocks(page, made) == made
    with pytest.raises(UserError, match=f"{page} has 0 places for the block '{names[0]}'"):
        readme.with_blocks(page, "# Title\n")


@pytest.mark.parametrize("page", PAGES)
def test_the_committed_page_is_current(page):
    text = (paths.ROOT / page).read_text(encoding="utf-8")
    assert readme.with_blocks(page, text) == text, "run: python -m ecsupport readme"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = (paths.ROOT / page).read_text(encoding="utf-8")
    links = [one or other for one, other in LABEL.findall(text)]
    assert len(links) > 20
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, part = link.partition("#")
        file = paths.ROOT / (name or page)
        assert file.exists(), link
        if part and file.suffix == ".ipynb":
            assert unquote(part).replace("-", " ") in [head.replace("-", " ") for head in evidence.headings(file)], link
        elif part:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads], link


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page):
    text = (paths.ROOT / page).read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_the_first_screen_has_three_findings_and_three_doors():
    screen = (paths.ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert screen.count("<img ") == 3
    assert [door in screen for door in ("**Reviewer, 40 minutes.**", "**Student.**", "**Your own data.**")] == [
        True
    ] * 3
    assert "make reproduce " in screen
    assert "make test " in screen
    assert "never about patients" in screen


# --- pictures -------------------------------------------------------------------------------------------------------


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def unlike(one, other):
    """Number of pixels that differ visibly; letters of another processor may differ in a shade."""
    return int((np.abs(one - other).max(axis=2) > 48).sum()) if one.shape == other.shape else math.inf


def test_the_committed_pictures_are_those_that_are_shown_and_small():
    folder = paths.reference() / "readme"
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{name}.png" for name in readme.pictured())
    assert all(file.stat().st_size < MOST_BYTES for file in folder.iterdir())
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"figures/reference/readme/{name}.png" in text for name in readme.pictured())


def test_the_committed_pictures_are_current(tmp_path):
    for name in readme.pictured():
        readme_plots.write(name, tmp_path / f"{name}.png")
        drawn, committed = pixels(tmp_path / f"{name}.png"), pixels(readme_plots.file(name))
        assert unlike(drawn, committed) < 10, f"{name}: run: python -m ecsupport readme"


def test_a_picture_of_other_evidence_is_not_taken_for_current(reference, tmp_path):
    readme_plots.write("attention_times", tmp_path / "before.png")
    change(reference / "bench" / "screening.csv", "value", 2.453, "LSNet over dense")
    readme_plots.write("attention_times", tmp_path / "after.png")
    assert unlike(pixels(tmp_path / "before.png"), pixels(tmp_path / "after.png")) >= 10


def test_panels_are_the_images_of_a_figure(reference):
    rng = np.random.default_rng(0)
    sheet = np.full((200, 330, 3), 255, np.uint8)
    images = rng.integers(0, 240, (2, 3, 60, 60, 3), np.uint8)
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            sheet[20 + 80 * i : 80 + 80 * i, 30 + 100 * j : 90 + 100 * j] = image
    sheet[5:15, 30:60] = 0  # a title
    Image.fromarray(sheet).save(reference / "smoke" / "sheet.png")
    found = readme_plots.panels("sheet.png")
    assert np.array_equal(found, images)
    sheet[100:160, 230:290] = 255
    Image.fromarray(sheet).save(reference / "smoke" / "sheet.png")
    with pytest.raises(ValueError, match="no grid"):
        readme_plots.panels("sheet.png")


def test_no_letter_of_a_picture_leaves_it(laptop):
    style.use()
    for name, draw in readme_plots.DRAWN.items():
        figure = draw()
        figure.canvas.draw()
        inside = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        plt.close(figure)
        assert inside.x0 >= 0 and inside.y0 >= 0 and inside.x1 <= width and inside.y1 <= height, name


# --- what is quoted -------------------------------------------------------------------------------------------------


def test_without_trainings_the_page_says_so(reference):
    assert evidence.profile() == "smoke"
    assert trainings.trainings().startswith("**Not trained yet.**")
    (reference / "laptop" / "trained").mkdir(parents=True)  # an archive alone decides nothing
    assert evidence.profile() == "smoke"


def test_a_laptop_ledger_is_quoted_claim_by_claim(laptop):
    page = trainings.trainings()
    claims = pd.read_csv(laptop / "ledger.csv")
    claims = claims[claims["rests_on"] == TRAINING]
    counts = claims["verdict"].value_counts()
    assert page.startswith(f"**Of {len(claims)} claims that rest on training, on phantoms: 1 supported, 1 refuted, ")
    for verdict, count in counts.items():
        assert f"{count} {verdict.replace(', ', ' but ')}" in page
        assert page.count(f"\n| **{verdict}** *") == count
    for claim in claims["claim"]:
        assert page.count(f"*{claim}*") == 1
    lines = {line.split("*")[5]: line for line in page.splitlines() if line.startswith("| **")}
    assert "0.0312 (0.0201 to 0.0423); claimed > 0 |" in lines["LSNet's ROC AUC exceeds that of MobileViT."]
    assert "−0.0124 (−0.0202 to −0.00460)" in lines["LSNet's ROC AUC exceeds that of EfficientNet."]
    assert "could have detected 0.00990 from 0" in lines["LSNet's ROC AUC exceeds that of MobileNet-V2."]
    assert next(iter(lines)) == "LSNet's ROC AUC exceeds that of MobileViT."  # what was decided comes first


def test_a_laptop_ledger_takes_the_third_place_of_the_first_screen(laptop):
    assert readme.pictured()[-1] == "verdicts"
    assert trainings.headline() in readme.first_screen()
    for page in PAGES:
        text = (paths.ROOT / page).read_text(encoding="utf-8")
        made = readme.with_blocks(page, text)
        assert made != text
        assert readme.with_blocks(page, made) == made


def test_every_claim_but_those_by_construction_is_told_once(laptop):
    ledger = pd.read_csv(laptop / "ledger.csv")
    pages = "\n".join(make() for make in readme.BLOCKS["FINDINGS.md"].values())
    told = [claim for found in (*audit_findings.found(), *code_findings.found()) for claim in found.claims]
    assert len(set(told)) == len(told)
    for row in ledger.itertuples():
        wanted = row.rests_on != "construction" and row.id not in told
        assert pages.count(f"*{row.claim}*") == wanted, row.id
    assert set(ledger.loc[ledger["verdict"] == CONSTRUCTION, "rests_on"]) == {"construction"}


@pytest.mark.parametrize(
    ("file", "column", "row", "value", "printed", "make"),
    [
        ("bench/screening.csv", "value", "LSNet over dense", 3.333, "3.33 (2.37 to 2.52) times", code_findings.code),
        ("bench/screening.csv", "value", "LSNet over dense", 3.333, "takes 3.3 times", readme.first_screen),
        ("smoke/coverage.csv", "roc_auc", "image, percentile", 0.611, "coverage 0.611 to", audit_findings.published),
        ("smoke/coverage.csv", "roc_auc", "image, percentile", 0.611, "in 61 to 75 of", readme.first_screen),
        ("smoke/table_6_replayed.csv", "agrees", "Exp #1", False, "40 of 60 replayed", audit_findings.published),
        ("smoke/variants.csv", "change of scores with guidance", "released", 0.5, "scores 0.500,", code_findings.code),
        ("smoke/audit_by_table.csv", "consistent", "table_1", 100, "1,142 consistent", audit_findings.published),
    ],
)
def test_a_number_follows_its_table(reference, file, column, row, value, printed, make):
    assert printed not in make()
    change(reference / file, column, value, row)
    assert printed in make()


def source(module):
    return (paths.ROOT / "ecsupport" / "reporting" / f"{module.__name__.split('.')[-1]}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [audit_findings, code_findings, trainings])
def test_no_number_of_a_finding_is_typed(module):
    """Neither in what is found nor in its size: what stands in quotes there holds no digit but that of a name."""
    made = [
        node for node in ast.walk(ast.parse(source(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    ]  # fmt: skip
    assert len(made) >= 4
    for call in made:
        for part in call.args[:2]:
            quoted = [part] if isinstance(part, ast.Constant) else getattr(part, "values", [])
            words = "".join(str(word.value) for word in quoted if isinstance(word, ast.Constant))
            assert not re.search(r"\d", NAMES.sub("", words)), words


def test_a_missing_table_or_heading_is_named(reference):
    with pytest.raises(UserError, match=r"smoke/nothing\.csv is absent"):
        evidence.table("nothing")
    with pytest.raises(UserError, match="notebook 07 has no heading 'Nowhere'"):
        evidence.link("07", "Nowhere")
    with pytest.raises(UserError, match="notebook 55 has no heading"):
        evidence.link("55", "The claims")
    shutil.rmtree(reference / "smoke")
    with pytest.raises(UserError, match="holds no ledger"):
        evidence.profile()


def test_a_claim_of_the_ledger_keeps_its_bars_and_its_note():
    row = {"id": "x", "notebook": "05_lsnet_distillation", "claim": "C|D", "computed": 0.5, "low": math.nan,
           "high": math.nan, "unit": "seconds", "margin": math.nan, "direction": "descriptive", "note": "by |G|",
           "verdict": "descriptive", "detectable": math.nan}  # fmt: skip
    line = findings.of_claim(row).line()
    assert line.startswith("| **descriptive** *C\\|D* | 0.500 s | [05 · The claims](")
    assert line.endswith("| by \\|G\\| |")


@given(st.floats(1e-12, 999) | st.floats(-999, -1e-12))
def test_a_printed_number_is_the_nearest_of_three_digits(value):
    text = evidence.number(value).replace("−", "-").replace(" × 10^", "e")
    scale = 10.0 ** math.floor(math.log10(abs(value)))
    assert abs(float(text) - value) <= 0.00501 * scale
    assert len(re.sub(r"e.*|[-.]", "", text).lstrip("0")) == 3 or value == int(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-1, "−1"), (5025.13, "5,025"), (0.7, "0.700"), (1.335, "1.34"), (6.6e-9, "6.60 × 10^−9")],
)
def test_numbers_as_they_are_printed(value, text):
    assert evidence.number(value) == text
