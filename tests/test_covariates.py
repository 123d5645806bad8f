"""Clinical covariates: of phantoms or of a manifest, in stated ranges; how they are weakened; what a mistake says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ecsupport.cohort import covariates, manifest, own_manifest
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.experiments import clinical, cohort
from ecsupport.reporting import clinical_plots, clinical_tables, ledger, related_claims
from ecsupport.reporting.results import Results
from ecsupport.screening.selection import area

RUN = Run(profiles.load("smoke"))
WHO = ("P1", "P1", "P2", "P3")  # one image each row; P1 and P3 are ill


@pytest.fixture
def own(tmp_path):
    """Writes the manifest of four images of three patients, with these columns besides."""
    rng = np.random.default_rng(0)
    for number in range(len(WHO)):
        Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).save(tmp_path / f"{number}.png")
    frame = pd.DataFrame({
        "image": [f"{n}.png" for n in range(len(WHO))], "patient_id": WHO, "centre": "north", "modality": "us",
        "label": [1, 1, 0, 1],
    })  # fmt: skip

    def write(**columns):
        frame.assign(**columns).to_csv(tmp_path / "own.csv", index=False)
        return tmp_path / "own.csv"

    return write


def test_of_every_phantom_all_is_known_and_within_its_range():
    table = covariates.of_patients(cohort.pool(RUN, "ultrasound"))
    assert table.notna().all(axis=None) and list(table) == list(covariates.NAMES)
    for name, of in covariates.COVARIATES.items():
        assert table[name].between(of.low, of.high).all(), name
    assert table.index.is_unique and len(table) == cohort.pool(RUN, "ultrasound")["patient_id"].nunique()


def test_an_exchange_keeps_distributions_and_takes_what_a_value_tells():
    rows = cohort.pool(RUN, "ultrasound")
    table = covariates.of_patients(rows)
    label = rows.groupby("patient_id", sort=False)["label"].first().to_numpy()

    def separates(share):
        found = covariates.exchanged(table, share, generator("test", share))
        pd.testing.assert_frame_equal(found.apply(np.sort), table.apply(np.sort), check_dtype=False)
        return area(found["age"][label == 1].to_numpy(), found["age"][label == 0].to_numpy())

    half, none = separates(0.5), separates(1.0)
    pd.testing.assert_frame_equal(covariates.exchanged(table, 0.0, generator("test")), table)
    assert separates(0.0) > half > none and abs(none - 0.5) < 0.1


def test_a_manifest_may_hold_some_of_them(own):
    rows = own_manifest.read(own(age=["61", "", "49", "70"], bleeding=["true", "1", "false", ""]))
    assert list(rows.columns) == [*manifest.COLUMNS, "age", "bleeding"]
    table = covariates.of_patients(rows)
    assert table["age"].tolist() == [61, 49, 70]
    np.testing.assert_array_equal(table["bleeding"], [1, 0, np.nan])
    assert table["bmi"].isna().all()  # not in the manifest, so nobody's is known
    assert list(own_manifest.read(own()).columns) == list(manifest.COLUMNS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ca125_u_ml": ["35", "", "35000", "12"]}, r"row 3, ca125_u_ml: '35000' is no CA-125\. Write 0\.5 to 20,000"),
        ({"age": ["61", "61", "6", "70"]}, r"row 3, age: '6' is no age\. Write 15 to 110 \(years\)"),
        ({"bmi": ["27,5", "", "24", "30"]}, r"row 1, bmi: '27,5' is no body mass index\. .* decimal point"),
        ({"endometrial_thickness_mm": ["thick", "", "4", "9"]}, "row 1, .*'thick' is no endometrial thickness"),
        ({"bleeding": ["yes", "", "no", "1"]}, r"row 1, bleeding: 'yes' is no bleeding\. Write true"),
        ({"age": ["61", "62", "49", "70"]}, "row 2, age: patient 'P1' has '62' here and '61' in row 1"),
        ({"age": [""] * 4}, r"age: empty for everybody\. Fill the column, or remove it"),
        ({"age": ["61", "61", "", "70"]}, "age: no patient with label 0 has a value, so that an empty cell tells"),
    ],
)
def test_a_mistake_is_named_with_its_row_and_remedy(own, columns, message):
    with pytest.raises(UserError, match=message):
        own_manifest.read(own(**columns))


def without_clinical_data(run):
    """Notebook 12 says what it lacks, with tables and pictures of nothing."""
    table = clinical_tables.by_rate(clinical.Outcomes(run))
    assert table.empty and clinical_tables.at_a_glance(table).empty
    assert "The manifest holds no clinical data" in clinical_tables.in_words(table, run)
    figure = clinical_plots.by_rate(table, "whole records")
    figure.draw_without_rendering()
    plt.close(figure)
    results = Results(run, "12_missing_clinical_data")
    clinical_tables.estimate(results, clinical.Outcomes(run))
    assert set(related_claims.verdicts(results)["verdict"]) == {ledger.NOT_ASSESSABLE}


def test_images_depend_on_no_covariate_and_networks_do(own, tmp_path, monkeypatch):
    """Pools of images are the same with and without; only with is anything clinical trained."""
    run = Run(RUN.profile, own())
    found = {}
    patients = [f"{label}{number}" for label in (0, 1) for number in range(20)]
    for name, columns in (("without", {}), ("with", {"age": np.arange(20.0, 60)})):
        rows = pd.DataFrame({
            "image": [f"{who}.png" for who in patients], "patient_id": patients, "centre": "north", "modality": "us",
            "sequence": "", "diagnosis": "", "invasion_depth": np.nan, "visible": pd.NA,
            "label": [int(who[0]) for who in patients], "split": "", "source": "file", "hash": patients, **columns,
        })  # fmt: skip
        with cohort.asked(run, rows):
            jobs = clinical.read(run)
            found[name] = cohort.pixels(run, "ultrasound", 64).key, len(jobs)
            if not columns:
                without_clinical_data(run)
            table = clinical.patients(run, "train").table
    assert found["with"][0] == found["without"][0]
    assert found["without"][1] == 0 and found["with"][1] == 2 * len(clinical.ARMS)
    assert table["age"].tolist() == [20 + patients.index(who) for who in table.index]


def test_where_gaps_tell_the_class_or_no_age_is_known_notebook_12_says_so(monkeypatch):
    """Of 40 patients only the ill have a bleeding noted: the gap is a classifier, and no claim is tested."""
    label = np.arange(40) % 2
    table = pd.DataFrame(np.nan, index=range(40), columns=list(covariates.NAMES))
    for filled, telling in ((np.ones(40), False), (np.where(label == 1, 1.0, np.nan), True)):
        of = clinical.Patients(pd.DataFrame(), label, table.assign(bleeding=filled))
        outcomes = clinical.Outcomes(RUN)
        monkeypatch.setattr(clinical.Outcomes, "tested", of)
        gap = clinical.areas(clinical.gaps, covariates.values(of.table), label, of.table["age"].to_numpy())
        monkeypatch.setattr(clinical.Outcomes, "areas", {clinical.INDICATOR: gap[None]})
        assert bool(outcomes.telling) == telling
        assert "by age" not in outcomes.mechanisms and len(outcomes.mechanisms) == 2
        assert set(clinical_tables.by_rate(outcomes)["mechanism"]) == set(outcomes.mechanisms)
    results = Results(RUN, "12_missing_clinical_data")
    clinical_tables.estimate(results, outcomes)
    assert all("tells the class by itself" in row["note"] for row in results.estimates)
