"""Missing clinical data: masks, the two branches, both directions of distillation, and AUC at every rate."""

from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from ecsupport.backbone import learner
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.evaluation.auc import auc_interval
from ecsupport.experiments import catalogue, clinical, difficulty
from ecsupport.paper.published import RELATED, load_claims, load_numbers
from ecsupport.related import bag_training, bidirectional, fusion, missingness
from ecsupport.related.bidirectional import ARMS, BOTH, IMAGES, NONE, ONE_WAY
from ecsupport.reporting import clinical_tables
from ecsupport.screening.selection import area

RUN = Run(profiles.load("smoke"))
RNG = generator("missing data")
SIDE, COVARIATES = 64, 3


def network(seed=0):
    return fusion.build(COVARIATES, 2, torch_generator("missing data", seed))


def bags(number=4, images=2, seed=0):
    return torch.randn(number, images, 1, SIDE, SIDE, generator=torch_generator("bags", seed)).clamp(-1, 1)


# masks


@pytest.mark.parametrize("mechanism", missingness.MECHANISMS)
@pytest.mark.parametrize("columns", [1, 4])
def test_masks_have_the_stated_rate_and_are_nested(mechanism, columns):
    ranks = missingness.ranks(mechanism, RNG.normal(60, 10, 500), columns, RNG)
    masks = [missingness.missing(ranks, rate) for rate in missingness.RATES]
    for rate, mask in zip(missingness.RATES, masks, strict=True):
        assert mask.mean(axis=0) == pytest.approx([rate] * columns)
    for fewer, more in pairwise(masks):
        assert (fewer <= more).all()


def test_on_what_missingness_depends():
    age, label = RNG.normal(60, 10, 4000), RNG.integers(0, 2, 4000)

    def gap(mechanism, driver, of):
        gone = missingness.missing(missingness.ranks(mechanism, driver, 1, RNG), 0.4)[:, 0]
        return of[gone].mean() - of[~gone].mean()

    assert abs(gap("at random", age, age)) < 1 and gap("by age", age, age) > 8
    assert abs(gap("at random", label, label)) < 0.05 and gap("by diagnosis", label.astype(float), label) > 0.3
    unknown = missingness.ranks("by age", np.full(50, np.nan), 1, RNG)  # nobody's age is known
    np.testing.assert_array_equal(np.sort(unknown[:, 0]), np.arange(50) / 50)
    with pytest.raises(ValueError, match="mechanism 'by luck' is unknown"):
        missingness.ranks("by luck", age, 1, RNG)


# the network


def test_pooling_is_gated_attention_whatever_the_order_and_repetition():
    """Agrees with the formula; an image shown twice as often as the others weighs as one of two would."""
    pool = network().pool
    x = torch.randn(3, 5, pool.value.in_features, generator=torch_generator("pool"))
    by_hand = []
    for bag in x:
        gate = torch.tanh(pool.value(bag)) * torch.sigmoid(pool.gate(bag))
        weight = torch.exp(gate @ pool.weight.weight[0])
        by_hand.append((weight[:, None] * bag).sum(0) / weight.sum())
    torch.testing.assert_close(pool(x), torch.stack(by_hand))
    torch.testing.assert_close(pool(x[:, [4, 2, 0, 1, 3]]), pool(x))
    torch.testing.assert_close(pool(x.repeat(1, 2, 1)), pool(x))


def test_values_are_standardised_by_those_that_are_known():
    values = RNG.normal(50, 10, (200, COVARIATES)).astype(np.float32)
    values[RNG.random(values.shape) < 0.3] = np.nan
    net = network()
    net.standardise(torch.tensor(values))
    np.testing.assert_allclose(net.centre, np.nanmean(values, axis=0), rtol=1e-5)
    np.testing.assert_allclose(net.scale, np.nanstd(values, axis=0), rtol=1e-5)


@pytest.mark.parametrize("of_all", [np.nan, 7.0])
def test_of_what_nothing_was_learnt_nothing_is_believed(of_all):
    """A covariate that no training patient has, or all alike, counts as missing where it turns up later."""
    values = RNG.normal(50, 10, (200, COVARIATES)).astype(np.float32)
    values[:, 2] = of_all
    net, arm = network().eval(), ARMS[BOTH]
    net.standardise(torch.tensor(values))
    image, later = net.embed(bags()), np.full((4, COVARIATES), np.nan, np.float32)
    later[:, 2] = 65
    np.testing.assert_array_equal(
        bag_training.scores(net, arm, image, later), bag_training.scores(net, arm, image, np.full_like(later, np.nan))
    )
    torch.testing.assert_close(net.tokens(torch.tensor(later)), net.tokens(torch.full((4, COVARIATES), torch.nan)))


def test_what_stands_for_a_missing_value():
    net = network()
    net.centre = torch.tensor([50.0, 0.0, 2.0])
    missing, mean = torch.tensor([[50.0, torch.nan, 2.0]]), torch.tensor([[50.0, 0.0, 2.0]])
    torch.testing.assert_close(net.tokens(missing, "mean"), net.tokens(mean))
    torch.testing.assert_close(net.tokens(missing), net.tokens(mean))  # the token starts as that of the mean
    with torch.no_grad():
        net.absent[1] += 1
    torch.testing.assert_close(net.tokens(missing)[0, 1], net.tokens(mean)[0, 1] + 1)
    assert (net.tokens(missing, "zero")[0, 1] == 0).all()
    torch.testing.assert_close(net.tokens(missing, "zero")[0, [0, 2]], net.tokens(mean)[0, [0, 2]])
    with pytest.raises(ValueError, match="fill 'median' is unknown"):
        net.tokens(missing, "median")


def test_the_single_modal_branch_sees_no_clinical_value():
    net, arm = network().eval(), ARMS[BOTH]
    image = net.embed(bags())
    values = RNG.normal(size=(4, COVARIATES)).astype(np.float32)
    none, some = np.full_like(values, np.nan), np.where(np.eye(4, COVARIATES) > 0, np.nan, values)
    torch.testing.assert_close(
        torch.from_numpy(bag_training.scores(net, arm, image, none)),
        net.single(image).logits.softmax(-1)[:, 1].double(), check_dtype=False,
    )  # fmt: skip
    multi = net.multi(image, torch.from_numpy(some)).logits.softmax(-1)[:, 1].double()
    torch.testing.assert_close(torch.from_numpy(bag_training.scores(net, arm, image, some)), multi, check_dtype=False)
    alone = bag_training.scores(net, ARMS[IMAGES], image, values)
    np.testing.assert_array_equal(alone, bag_training.scores(net, ARMS[IMAGES], image, none))


# the losses


def terms(arm, done=1.0, seed=0):
    net = network(seed)
    values = torch.randn(4, COVARIATES, generator=torch_generator("values"))
    return net, bidirectional.losses(net, arm, bags(), values, torch.tensor([1, 1, 0, 0]), done)


def test_each_arm_has_the_losses_that_it_names():
    assert list(terms(ARMS[BOTH])[1]) == ["multi", "single", "to_single", "to_multi"]
    assert list(terms(ARMS[ONE_WAY])[1]) == ["multi", "single", "to_single"]
    assert list(terms(ARMS[NONE])[1]) == ["multi", "single"]
    assert list(terms(ARMS[IMAGES])[1]) == ["single"]
    assert list(terms(ARMS["modality dropout"])[1]) == ["multi"]


def test_the_losses_are_those_of_the_text():
    net, found = terms(ARMS[BOTH])
    values = torch.randn(4, COVARIATES, generator=torch_generator("values"))
    labels = torch.tensor([1, 1, 0, 0])
    image = net.embed(bags())
    multi, single = net.multi(image, values), net.single(image)
    p, q = ((branch.logits / 2).softmax(-1) for branch in (multi, single))
    divergence = (p * (p / q).log()).sum(-1).mean()
    taught = ((single.fused - multi.fused) ** 2).mean()
    torch.testing.assert_close(found["to_single"], taught + 4 * divergence)
    torch.testing.assert_close(found["to_multi"], ((multi.image - single.image) ** 2).mean())
    assert all(torch.isfinite(term) and term >= 0 for term in found.values())
    torch.testing.assert_close(found["multi"], functional.cross_entropy(multi.logits, labels))


@pytest.mark.parametrize(
    ("term", "pulled", "still"),
    [
        ("to_single", ("single_head", "prompt"), ("multi_head", "slope", "offset", "absent")),
        ("to_multi", ("slope", "offset", "absent"), ("single_head", "multi_head", "prompt")),
    ],
)
def test_each_direction_pulls_the_branch_that_learns_and_spares_what_its_teacher_alone_has(term, pulled, still):
    net, values = network(), torch.randn(4, COVARIATES, generator=torch_generator("values"))
    values[0, 1] = torch.nan
    bidirectional.losses(net, ARMS[BOTH], bags(), values, torch.tensor([1, 1, 0, 0]), 1.0)[term].backward()

    def moved(name):
        of = [part.grad for n, part in net.named_parameters() if n.split(".")[0] == name]
        return any(grad is not None and grad.abs().sum() > 0 for grad in of)

    assert [name for name in (*pulled, *still) if moved(name)] == list(pulled)


def test_tokens_and_prompt_are_not_drawn_to_zero():
    net = network()
    names = {id(part): name for name, part in net.named_parameters()}
    decayed = {names[id(p)] for group in learner.groups(net, 0.1) if group["weight_decay"] for p in group["params"]}
    assert decayed.isdisjoint({"slope", "offset", "absent", "prompt"})
    assert {"project.weight", "encoder.stem.0.weight", "multi_head.weight"} <= decayed


def test_distillation_begins_gently():
    early, late = (terms(ARMS[BOTH], done)[1] for done in (bidirectional.RAMP / 4, 1.0))
    for name in ("to_single", "to_multi"):
        assert float(early[name].detach()) == pytest.approx(float(late[name].detach()) / 4)
    assert float(early["multi"].detach()) == float(late["multi"].detach())


def test_values_and_records_are_left_out_as_often_as_stated():
    values = torch.zeros(4000, COVARIATES)
    few = bidirectional.thinned(values, ARMS[BOTH], torch_generator("thinned")).isnan()
    many = bidirectional.thinned(values, ARMS["modality dropout"], torch_generator("thinned")).isnan()
    assert float(few.float().mean()) == pytest.approx(bidirectional.DROPPED, abs=0.01)
    assert float(many.all(dim=1).float().mean()) == pytest.approx(0.5, abs=0.03)


# training


def arrays(signal=True, patients=40, seed=3):
    """Patients of whom the first covariate tells the class, and half of each image too; or nothing does."""
    rng = generator("patients", seed)
    label = np.arange(patients) % 2
    patient = np.repeat(np.arange(patients), 2)
    image = rng.integers(60, 120, (2 * patients, SIDE, SIDE)).astype(np.uint8)
    image[:, :32] += (70 * signal * label[patient])[:, None, None].astype(np.uint8)
    values = rng.normal(size=(patients, COVARIATES)).astype(np.float32)
    values[:, 0] += 3 * signal * label
    return {"image": image, "patient": patient, "label": label, "values": values}


RECIPE = {"seed": 5, "batch": 8, "bag": 2, "steps": 60, "rate": 0.01, "stem_stride": 2}


def trained(folder, arm, signal=True, **changes):
    """AUC on new patients with all values, and without any."""
    recipe = {"arm": arm, **RECIPE, **changes}
    folder.mkdir(exist_ok=True)
    bag_training.train(folder, arrays(signal), recipe, "test")
    net = bag_training.restore(folder, recipe, COVARIATES)
    new = arrays(signal, seed=4)
    image = bag_training.embed(net, new["image"], bag_training.first_images(new["patient"], 40, 2))

    def judged(values):
        score = bag_training.scores(net, ARMS[arm], image, values)
        return area(score[new["label"] == 1], score[new["label"] == 0])

    return judged(new["values"]), judged(np.full_like(new["values"], np.nan))


@pytest.mark.parametrize("arm", [BOTH, IMAGES, "modality dropout"])
def test_what_can_be_learnt_is_learnt(tmp_path, arm):
    complete, absent = trained(tmp_path, arm)
    assert complete > 0.9 and absent > 0.8


def test_where_nothing_tells_the_class_nothing_is_learnt(tmp_path):
    for found in trained(tmp_path, BOTH, signal=False):
        assert abs(found - 0.5) < 0.25


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    trained(whole, BOTH, steps=12)
    monkeypatch.setattr(bag_training, "CHECKPOINT", 5)
    monkeypatch.setattr(bag_training.time, "monotonic", partial(next, iter(range(0, 10**6, 100))))
    losses, calls = bidirectional.losses, []

    def killed(*arguments):
        calls.append(0)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(bag_training.bidirectional, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", BOTH, steps=12)
    assert (tmp_path / "killed" / bag_training.RESUME).is_file()
    trained(tmp_path / "killed", BOTH, steps=12)
    assert len(calls) == 8 + 12 - 5
    for name in (bag_training.WEIGHTS, bag_training.HISTORY):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()
    assert not (tmp_path / "killed" / bag_training.RESUME).is_file()


def test_without_a_class_nothing_is_trained(tmp_path):
    given = arrays()
    with pytest.raises(UserError, match=r"there is no negative training patient \(label 0\)"):
        bag_training.train(tmp_path, {**given, "label": np.ones(40, int)}, {"arm": BOTH, **RECIPE}, "test")


def test_a_patient_of_one_image_shows_it_again():
    places = bag_training.first_images(np.array([1, 0, 1, 1]), 2, 2)
    np.testing.assert_array_equal(places, [[1, 1], [0, 2]])


# jobs and what they say


def test_jobs_of_a_run():
    every = clinical.trained(RUN)
    assert set(every) == {(name, seed) for name in ARMS for seed in RUN.profile.clinical.seeds}
    assert len({job.key for job in every.values()}) == len(every)
    names = [job.name for job in catalogue.of_notebook(RUN, "12_missing_clinical_data")]
    assert len(names) == len(set(names)) == 2 * len(every)
    pair = [every[name, 42] for name in (BOTH, bidirectional.SHUFFLED)]
    for jobs in (pair, [clinical.scores(RUN, job) for job in pair]):  # of those who learn, and of those who decide
        told, shuffled = (job.given["values"] for job in jobs)
        assert (told != shuffled).any(axis=1).mean() > 0.9
        np.testing.assert_array_equal(*(rows[np.lexsort(rows.T)] for rows in (told, shuffled)))  # whole records
    learnt, decide = (set(clinical.patients(RUN, which).rows["patient_id"]) for which in ("train", "extended"))
    assert learnt.isdisjoint(decide)
    assert np.bincount(clinical.patients(RUN, "train").label).tolist() == [RUN.profile.clinical.patients] * 2


def test_paper_tries_what_laptop_tries_on_the_pools_of_the_difficulties():
    laptop, paper = (Run(profiles.load(name)) for name in ("laptop", "paper"))
    of = [{which: job.key for which, job in clinical.trained(run).items()} for run in (laptop, paper)]
    assert of[0] == of[1]
    harder = difficulty.trained(laptop)["harder", "LSNet", 42].inputs["ultrasound"]
    assert clinical.trained(laptop)[BOTH, 42].inputs["images"].name == harder.name
    assert clinical.trained(laptop)[BOTH, 42].inputs["images"].key == harder.key


def test_areas_are_those_of_the_masked_scores_and_agree_with_delong():
    """Complete data: the area and, over patients, DeLong's interval; a mean over masks in between."""
    label = np.arange(200) % 2
    values = (RNG.normal(size=(200, 2)) + label[:, None]).astype(np.float32)
    age = RNG.normal(60, 10, 200)

    def score(given):
        return np.nan_to_num(given).sum(axis=1)

    psi = clinical.areas(score, values, label, age)
    assert psi.shape == (len(clinical.CONDITIONS), 200)
    complete, absent = psi[0], psi[-1]
    assert complete.mean() == pytest.approx(area(score(values)[label == 1], score(values)[label == 0]))
    assert absent.mean() == pytest.approx(0.5)
    error = complete.std(ddof=1) / np.sqrt(200)
    assert error == pytest.approx(auc_interval(label, score(values)).standard_error, rel=0.02)
    at = clinical.CONDITIONS.index(clinical.at(0.4))
    by_hand = []
    for given in clinical.masked(values, clinical.at(0.4), label, age):
        assert np.isnan(given).all(axis=1).mean() == pytest.approx(0.4)
        by_hand.append(area(score(given)[label == 1], score(given)[label == 0]))
    assert psi[at].mean() == pytest.approx(np.mean(by_hand)) and len(by_hand) == clinical.MASKS


def test_the_gap_alone_tells_the_diagnosis_only_where_it_depends_on_it():
    label = np.arange(400) % 2
    psi = clinical.areas(clinical.gaps, np.zeros((400, 6), np.float32), label, RNG.normal(60, 10, 400))
    found = dict(zip(clinical.CONDITIONS, psi.mean(axis=1), strict=True))
    for kind in missingness.KINDS:
        assert found[clinical.at(0.4, kind, "by diagnosis")] > 0.7
        assert found[clinical.at(0.4, kind, "at random")] == pytest.approx(0.5, abs=0.03)


def test_the_logistic_regression_takes_the_mean_for_what_is_missing():
    values = pd.DataFrame(RNG.normal(60, 10, (100, 6)), columns=list(clinical.covariates.NAMES)).clip(1)
    label = (values["age"] > 60).to_numpy(int)
    score = clinical.logistic(clinical.Patients(pd.DataFrame(), label, values))
    seen = clinical.covariates.values(values)
    assert area(score(seen)[label == 1], score(seen)[label == 0]) > 0.95
    means = np.repeat(seen.mean(axis=0)[None], 2, axis=0)
    np.testing.assert_allclose(score(np.full((2, 6), np.nan)), score(means), atol=1e-5)


def test_claims_of_the_related_system_are_all_estimated_and_none_of_the_papers():
    claims, paper = load_claims(RELATED), load_claims()
    own = claims[claims["notebook"] == "12_missing_clinical_data"]
    assert set(own.index) == set(clinical_tables.CLAIMS)
    assert set(claims.index).isdisjoint(paper.index) and set(claims["family"]).isdisjoint(paper["family"])
    assert not set(claims["published"]) - {"", *load_numbers().index}
