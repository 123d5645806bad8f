"""Notebook 03's jobs and tables: what is measured of translations, what they keep, and which claims that fills."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ecsupport.cohort import phantom, structures
from ecsupport.core import jobs
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run, load
from ecsupport.evaluation import kept_anatomy
from ecsupport.evaluation.frechet import frechet_distance
from ecsupport.experiments import anatomy, catalogue, cohort, distances, instruments, translators
from ecsupport.instruments import acceptance, features, segmenter
from ecsupport.reporting import distance_claims, distance_plots, distance_tables

SMOKE = load("smoke")
TINY = replace(
    SMOKE,
    name="tiny",
    cohort=replace(
        SMOKE.cohort, carcinoma_patients=24, carcinoma_images=72, control_patients=24, control_images=72,
        mri_patients=9, mri_images=36, extra_patients=3, extra_images=6, instrument_patients=6, instrument_images=12,
    ),
    translation=replace(SMOKE.translation, width=4, residual_blocks=1, steps=2),
    screening=replace(SMOKE.screening, instrument_steps=2),
)  # fmt: skip
RUN = Run(TINY)
SIDE = TINY.translation.image_size


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory):
    """The jobs of CycleGAN alone, and those of real images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        names = [
            "features/cyclegan/42",
            "features/real",
            "anatomy/cyclegan/42",
            "anatomy/real",
            "instrument/acceptance",
        ]
        catalogue.make(RUN, names)
        yield catalogue.by_name(RUN)


def of(name, size=SIDE):
    return cohort.open_pool(cohort.pixels(RUN, name, size).folder).images


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_translations_in_their_order_and_float32_loses_nothing(made):
    network = features.restore(made["instrument/extractor"].folder)
    pictures = cohort.open_pool(made["translations/cyclegan/42/test"].folder).images
    kept = np.load(made["features/cyclegan/42"].file("features.npy"))
    assert (kept.dtype, kept.shape) == (np.float32, (len(distances.measured(RUN)["mri"]), features.FEATURES))
    found = features.features(network, pictures)
    np.testing.assert_array_equal(found.astype(np.float32).astype(np.float64), found)
    np.testing.assert_array_equal(kept, found)
    for row in (0, len(kept) - 1):
        np.testing.assert_allclose(kept[row], features.features(network, pictures[row : row + 1])[0], rtol=1e-3)


def test_real_sets_are_of_the_patients_that_they_name(made):
    rows, sets = cohort.pool(RUN, "ultrasound"), distances.measured(RUN)
    assert set(rows.iloc[sets["real"]]["split"]) == {"test"}
    assert set(rows.iloc[sets["training"]]["split"]) == set(rows.iloc[sets["plain"]]["split"]) == {"train"}
    assert not set(distances.patients(RUN, "probe")) & set(distances.patients(RUN, "training"))
    assert len(sets["plain"]) == len(sets["mri"])
    with np.load(made["features/real"].file("features.npz")) as kept:
        assert {name: len(kept[name]) for name in ("real", "training", "mri", "matched", "plain", "enhanced")} == {
            name: len(sets[{"matched": "mri", "enhanced": "plain"}.get(name, name)]) for name in distances.REAL
        }
        network = features.restore(made["instrument/extractor"].folder)
        mri = acceptance.match_histogram(of("mri")[sets["mri"]], of("ultrasound")[sets["training"]])
        np.testing.assert_array_equal(kept["matched"], features.features(network, mri))


def test_what_cannot_be_tested_says_why(made):
    reason = distances.verdict(made["instrument/acceptance/extractor"])
    assert isinstance(reason, str)
    assert reason.startswith("not computable (")


def test_ladders_are_climbed_as_by_hand(monkeypatch, tmp_path, made):
    """With a feature of two numbers, which few images suffice for, every distance comes back to the last bit."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    catalogue.make(RUN, ["pixels", "instrument/extractor"])

    def measure(_, images):
        return np.stack([images.mean((1, 2)), images.std((1, 2))], axis=1)

    monkeypatch.setattr(distances.features, "features", measure)
    monkeypatch.setattr(acceptance, "LADDERS", {"blur": (1.0, 3.0), "noise": (5.0, 40.0)})
    monkeypatch.setattr(acceptance, "EXCEEDS", {})
    job = distances.ladders(RUN)
    jobs.make([job])
    sets = [of("mri" if name == "mri" else "ultrasound")[job.given[name]] for name in ("training", "probe", "mri")]
    rng = distances.generator("03", "ladders")
    found = acceptance.accept(lambda images: measure(None, images), frechet_distance, *sets, rng)
    kept = distances.verdict(job)
    assert (kept.accepted, kept.reasons) == (found.accepted, found.reasons)
    pd.testing.assert_frame_equal(kept.distances, found.distances, check_exact=True)


def test_nothing_translated_means_no_job_of_translations_and_no_ladders_without_mri(monkeypatch, made):
    monkeypatch.setattr(translators, "translatable", lambda run: False)
    names = {job.name for job in distances.read(RUN)}
    assert {name.rsplit("/", 1)[0] for name in names} == {"instrument", "instrument/acceptance", "features", "anatomy"}
    assert {"features/real", "anatomy/real"} <= names
    none = dict(distances.measured(RUN), mri=np.empty(0, int), probe=np.empty(0, int))
    monkeypatch.setattr(distances, "measured", lambda run: none)
    assert distances.ladders(RUN) is None


def test_the_anatomy_of_a_translation_is_held_against_that_of_its_mri(made):
    job = made["anatomy/cyclegan/42"]
    mri = cohort.pool(RUN, "mri").iloc[job.given["mri"]]
    known = structures.known(mri, SIDE)
    pictures = cohort.open_pool(made["translations/cyclegan/42/test"].folder).images[:]
    reading = segmenter.read(segmenter.restore(made["instrument/segmenter"].folder), pictures)
    table = anatomy.table(job, "anatomy.csv")
    wanted = kept_anatomy.compare(reading.structures, known.labels)
    pd.testing.assert_frame_equal(table[wanted.columns], wanted, check_exact=True)
    np.testing.assert_array_equal(table["invasion"], reading.invasion)
    np.testing.assert_array_equal(table["visible_depth"], known.visible_depth)

    places = translators.shown(RUN, anatomy.EXAMPLES)
    assert len(set(distances.patients(RUN, "mri")[places])) == len(places) <= anatomy.EXAMPLES
    with np.load(job.file("examples.npz")) as shown:
        np.testing.assert_array_equal(shown["true"], known.labels[places])
        np.testing.assert_array_equal(shown["found"], reading.structures[places])
        np.testing.assert_array_equal(shown["picture"], pictures[places])
        version, patient, modality, index = mri["image"].iloc[places[0]].split("/")
        np.testing.assert_array_equal(shown["mri"][0], phantom.render(version, patient, int(index), modality, SIDE))


def test_a_perfect_reader_keeps_all_and_more_than_with_exchanged_anatomy(monkeypatch, tmp_path):
    run = Run(replace(TINY, cohort=replace(TINY.cohort, mri_patients=60, mri_images=120)))
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    job, mri = anatomy.translated(run)["unit", 42], cohort.pool(run, "mri")
    known = structures.known(mri.iloc[job.given["mri"]], SIDE)
    monkeypatch.setattr(anatomy.segmenter, "restore", lambda folder: torch.nn.Identity())
    truth = structures.Reading(known.labels, known.visible.astype(float))
    monkeypatch.setattr(anatomy.segmenter, "read", lambda network, images: truth)
    copied = Job("copied", lambda folder, _: cohort.pixels(run, "mri", SIDE).make(folder, pool), {}, {})
    pool = cohort.pixels(run, "mri", SIDE)
    nothing = Job("no segmenter", lambda folder, _: None, {})
    job = replace(job, inputs={"segmenter": nothing, "mri": pool, "translations": copied})
    jobs.make([job])
    table = anatomy.table(job, "anatomy.csv")
    assert (table["dice_junctional_zone"].dropna() == 1).all()
    assert (table["boundary_mm"].dropna() == 0).all()
    assert table["other_dice"].mean() < 0.7
    assert sorted(table["other_visible_depth"]) == sorted(table["visible_depth"])
    assert kept_anatomy.status_kept(table["invasion"] >= 0.5, table["visible_depth"]).all()


def test_a_segmenter_that_learnt_nothing_is_refused_with_reasons(made):
    job = made["anatomy/real"]
    found, _ = anatomy.verdict(job)
    assert not found.accepted
    assert found.reasons
    rows = cohort.pool(RUN, "ultrasound").iloc[job.given["carcinomas"]]
    assert set(rows["label"]) == {1}
    assert len(anatomy.table(job, "ceiling.csv")) == len(rows)


def test_kept_anatomy_is_tabulated_as_by_hand(monkeypatch, made):
    job, cut = made["anatomy/cyclegan/42"], 0.4
    monkeypatch.setattr(anatomy, "translated", lambda run: {("cyclegan", 42): job})
    found, table = distance_tables.read_kept(RUN, cut), anatomy.table(job, "anatomy.csv")
    patients = pd.Series(distances.patients(RUN, "mri"))
    row, ceiling = found.table.iloc[0], found.table.iloc[-1]
    assert (row["images"], len(found.table)) == ("CycleGAN", 2)
    status = (table["invasion"] >= cut) == (table["visible_depth"] >= 0.25)
    assert row["status"] == pytest.approx(status.groupby(patients).mean().mean())
    assert row["dice"] == pytest.approx(table["dice"].groupby(patients).mean().mean(), nan_ok=True)
    best = anatomy.table(made["anatomy/real"], "ceiling.csv")
    assert ceiling["zone_found"] == best["found"].mean()
    assert found.survival["images"].sum() == len(table) + len(best)


# --- tables and claims ----------------------------------------------------------------------------------------------


def some_sets(seeds=(42,), shift=0.0):
    """Features of four numbers: SG-CycleGAN `shift` farther from real images than every other model."""
    rng = np.random.default_rng(0)
    ids = {name: np.repeat([f"{name}{i}" for i in range(10)], 12) for name in ("mri", "real", "training")}
    translated = {
        name: {seed: rng.normal(2 + shift * (name == "sg_cyclegan"), 1, (120, 4)) for seed in seeds}
        for name in translators.labels()
    }
    real = {name: rng.normal(0, 1, (120, 4)) for name in distances.REAL}
    return distance_tables.Sets(translated, real, ids)


def ledger(ranks=False):
    """Results that keep what is booked, by claim."""
    booked = {}
    results = SimpleNamespace(run=SimpleNamespace(profile=replace(SMOKE, ranks=ranks)), booked=booked)
    results.estimate = lambda claim, *numbers, **named: booked.update({claim: (numbers, named)})
    return results


def test_table_1_stands_without_any_distance_where_nothing_was_measured():
    table, floors = distance_tables.table_1(None)
    assert floors == {}
    assert table["images"].tolist() == list(translators.labels().values())
    assert table.set_index("images").loc["SG-CycleGAN", "published_fid"] == 73.25
    assert table[["frechet", "kernel"]].isna().all(axis=None)


def test_table_1_averages_over_seeds_and_ends_with_the_floor():
    sets = some_sets((1, 2))
    table, floors = distance_tables.table_1(sets)
    values = [frechet_distance(sets.real["real"], one) for one in sets.translated["unit"].values()]
    row = table.set_index("images").loc["UNIT"]
    assert (row["seeds"], row["frechet"], row["frechet_sd"]) == (2, np.mean(values), np.std(values))
    assert table["frechet"].iloc[-1] == floors["frechet"].mean < row["frechet"]
    assert len(table) == len(translators.labels()) + len(distance_tables.SCALE) + 1


def test_a_translator_that_is_farther_is_told_so_and_few_pairs_decide_nothing():
    compared = distance_tables.differences(some_sets(shift=1.0), "")
    table = distance_tables.difference_table(compared)
    assert len(table) == 10
    assert (table["low"] > 0).all()
    results = ledger()
    distance_claims.book_differences(results, compared, ("F", "K"), {})
    assert set(results.booked) == set(distance_claims.CLAIM.values())
    numbers, named = results.booked["sg_cyclegan_beats_unit_fid"]
    assert numbers == tuple(table.query("less == 'UNIT' and distance == 'fid'")[["difference", "low", "high"]].iloc[0])
    assert named["note"].startswith("F; jackknife")
    ranking = ledger(ranks=True)
    distance_claims.book_differences(ranking, compared, ("F", "K"), {})
    assert {named["assessable"] for _, named in ranking.booked.values()} == {False}
    assert ranking.booked["sg_cyclegan_beats_unit_fid"][1]["note"].startswith("1 pair of trainings, too few")


@pytest.mark.parametrize(("without", "why"), [(True, "not accepted"), (False, "not trained in this profile")])
def test_a_difference_that_was_not_measured_says_why(without, why):
    sets = some_sets()
    sets.translated["dclgan"].clear()
    compared = distance_tables.differences(None if without else sets, "not accepted")
    results = ledger()
    distance_claims.book_differences(results, compared, ("F", "K"), {})
    assert results.booked["sg_cyclegan_beats_dclgan_kid"] == ((None,), {"assessable": False, "note": why})


def test_equal_sets_have_no_interval():
    sets = some_sets()
    sets.translated["unit"] = dict(sets.translated["sg_cyclegan"])
    compared = distance_tables.differences(sets, "")
    assert "UNIT" not in set(distance_tables.difference_table(compared)["less"])
    results = ledger()
    distance_claims.book_differences(results, compared, ("F", "K"), {})
    assert results.booked["sg_cyclegan_beats_unit_fid"][1]["note"] == distance_claims.NO_SPREAD


def test_copies_are_near_and_images_of_one_kind_are_not_diverse():
    sets = some_sets()
    sets.translated["unit"][42] = sets.real["training"] + 1e-6
    sets.translated["sg_cyclegan"][42] = 0.1 * sets.real["real"]
    table, ours = distance_tables.diversity(sets)
    assert table.set_index("translator").loc["UNIT", "nearest"] < 1e-3
    assert ours.value == pytest.approx(0.1)
    results = ledger()
    distance_claims.book_diversity(results, ours)
    assert results.booked["synthetic_images_diverse"][0][0] == ours.corrected


def kept(status, ceiling=0.99):
    """Ten patients of six MRI: SG-CycleGAN keeps a Dice 0.2 above CycleGAN's and that share of labels, about."""
    rng = np.random.default_rng(1)
    patients = np.repeat([f"P{i}" for i in range(10)], 6)
    of_image = {
        name: {
            "dice": more + rng.uniform(0, 0.1, (1, 60)),
            "status": (rng.uniform(size=(1, 60)) < status).astype(float),
        }
        for name, more in (("cyclegan", 0.1), ("sg_cyclegan", 0.3))
    }
    table = pd.DataFrame({"images": ["real ultrasound (ceiling)"], "status": [ceiling]})
    seeds = {"cyclegan": [42], "sg_cyclegan": [42]}
    return distance_tables.Kept(table, pd.DataFrame(), of_image, seeds, patients)


def test_kept_anatomy_fills_its_claims_unless_the_judge_cannot_reach_the_margin():
    results = ledger()
    distance_claims.book_anatomy(results, kept(0.5), "")
    (_, low, high), named = results.booked[distance_claims.BETTER]
    assert 0.1 < low < 0.2 < high  # the margin is 0: far from it
    assert named["degrees"] > 1
    assert results.booked[distance_claims.STATUS][0][0] == pytest.approx(0.5, abs=0.15)
    blind = ledger()
    distance_claims.book_anatomy(blind, kept(0.5, ceiling=0.9), "")
    numbers, named = blind.booked[distance_claims.STATUS]
    assert (numbers, named["assessable"]) == ((None,), False)
    assert "is 0.90, below the margin" in named["note"]
    nothing = ledger()
    distance_claims.book_anatomy(nothing, None, "files carry no anatomy")
    assert {named["note"] for _, named in nothing.booked.values()} == {"files carry no anatomy"}


def test_fid_proper_is_measured_on_the_translations(monkeypatch):
    """With the mean grey level as the only feature, the distance is that of two normal distributions."""

    class Grey(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, images):
            return images.float().mean((1, 2))[:, None] * self.scale

    job = translators.translations(RUN, "cyclegan", 42, "test")
    monkeypatch.setattr(translators, "tests", lambda run: [job])
    (row,) = distance_tables.fid_and_kid(RUN, Grey()).itertuples(index=False)
    one = of("ultrasound")[distances.measured(RUN)["real"]].mean((1, 2))
    other = cohort.open_pool(job.folder).images.mean((1, 2))
    apart = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
    assert (row.translator, row.seed) == ("CycleGAN", 42)
    assert row.fid == pytest.approx(apart, rel=1e-3)


def test_pictures_draw_what_they_are_given(made):
    with np.load(made["anatomy/cyclegan/42"].file("examples.npz")) as file:
        examples = {"cyclegan": dict(file)}
    places = translators.shown(RUN, anatomy.EXAMPLES)
    figure, drawn = distance_plots.anatomy_examples(examples, places, ["t1"] * len(places))
    assert len(figure.axes) == 2 * 5
    row = drawn.query("row == 'MRI, truth' and structure == 'tumour'").iloc[0]
    tumour = list(structures.STRUCTURES).index("tumour")
    assert row["share_of_picture"] == (examples["cyclegan"]["true"][0] == tumour).mean()
    assert instruments.trained_segmenter(RUN).state == "made"
