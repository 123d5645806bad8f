"""Multitask self-distillation: the network, its losses, whose labels are known, and what its measures say."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from ecsupport.cohort import manifest, own_manifest, structures, tissue_shares
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.evaluation.auc import auc_interval
from ecsupport.evaluation.components import estimated
from ecsupport.experiments import catalogue, cohort, multitask
from ecsupport.paper.published import RELATED, load_claims
from ecsupport.related import dense_attention, multitask_training, self_distillation
from ecsupport.related.dense_attention import INVASION, PROPORTIONS, TASKS, Reweighted
from ecsupport.related.self_distillation import ALONE, MULTITASK, ON_LABELLED, SELF, Truth
from ecsupport.reporting import multitask_tables, related_claims
from ecsupport.reporting.results import Results

RUN = Run(profiles.load("smoke"))
RNG = generator("multitask test")
NOTEBOOK, SIDE, TISSUES = "13_multitask_self_distillation", 32, 4


def network(tasks=TASKS, seed=0):
    return dense_attention.build(tasks, TISSUES, 1, torch_generator("multitask test", seed))


def noise(number=6, seed=0):
    return torch.randn(number, 1, SIDE, SIDE, generator=torch_generator("images", seed)).clamp(-1, 1)


def truth(number=6):
    shares = torch.from_numpy(RNG.dirichlet(np.ones(TISSUES), number).astype(np.float32))
    return Truth(torch.arange(number) % 2, shares, torch.tensor([0.1, 0.2, 0.3, 0.4]))


# the network


def test_attention_weighs_channels_and_then_places():
    layer, x = Reweighted(8), torch.randn(3, 8, 5, 5, generator=torch_generator("attention"))
    first, second = layer.channels[0], layer.channels[2]
    weight = sum(second(first(of).clamp(min=0)) for of in (x.mean((2, 3)), x.flatten(2).max(-1).values))
    weighed = torch.einsum("bc,bchw->bchw", torch.sigmoid(weight), x)
    of_places = torch.stack([weighed.mean(1), weighed.max(1).values], 1)
    place = torch.sigmoid(functional.conv2d(of_places, layer.places.weight, layer.places.bias, padding=3))
    torch.testing.assert_close(layer(x), weighed * place)


def test_every_layer_sees_the_reweighted_outputs_of_all_before():
    block = dense_attention.DenseBlock(6).eval()
    x = torch.randn(2, 6, 4, 4, generator=torch_generator("block"))
    maps = [block.attention[0](x)]
    for layer, attention in zip(block.layers, block.attention[1:], strict=True):
        maps.append(attention(layer(torch.cat(maps, dim=1))))
    torch.testing.assert_close(block(x), torch.cat(maps, dim=1))


def test_a_network_has_the_branches_of_its_tasks():
    both, one = network().eval()(noise()), network((INVASION,)).eval()(noise())
    assert {task: tuple(logits.shape) for task, logits in both.items()} == {
        INVASION: (6, 1, 2),
        PROPORTIONS: (6, 2, TISSUES),
    }
    assert list(one) == [INVASION]
    with pytest.raises(ValueError, match="tasks stage are not some of invasion, proportions"):
        network(("stage",))


# the losses


def test_the_losses_are_those_of_the_text():
    known, net = truth(), network()
    outputs = {task: logits.detach() for task, logits in net(noise()).items()}
    p, true, y = outputs[INVASION].softmax(-1)[:, 0, 1], known.proportions, known.invasion
    q, c = outputs[PROPORTIONS].softmax(-1).unbind(1)
    found = self_distillation.by_image(outputs, known)
    torch.testing.assert_close(found[INVASION], -(y * p.log() + (1 - y) * (1 - p).log()), atol=1e-5, rtol=1e-4)
    cross = -c.gather(1, (true / known.mean).argmax(-1, keepdim=True))[:, 0].log()
    expected = (true * (true / q).log()).sum(-1) + ((q - true) ** 2).sum(-1) + 0.5 * cross
    torch.testing.assert_close(found[PROPORTIONS], expected, atol=1e-5, rtol=1e-4)


def test_true_shares_cost_least_and_unknown_ones_nothing():
    """Whatever else is told, no shares cost less than the true ones, and the same class costs the same."""
    known, predominant = truth(), torch.randn(6, TISSUES, generator=torch_generator("predominant"))

    def cost(shares, known=known):
        return self_distillation.by_image({PROPORTIONS: torch.stack([shares, predominant], dim=1)}, known)[PROPORTIONS]

    for seed in range(5):
        moved = known.proportions.log() + 0.3 * torch.randn(6, TISSUES, generator=torch_generator("moved", seed))
        assert (cost(moved) > cost(known.proportions.log())).all()
    unknown = known.proportions.clone()
    unknown[2] = torch.nan
    found = cost(known.proportions.log(), Truth(known.invasion, unknown, known.mean))
    assert found[2] == 0 and torch.isfinite(found).all()


def test_predominant_is_what_covers_most_against_its_mean():
    shares = torch.tensor([[0.05, 0.05, 0.3, 0.6], [0.0, 0.05, 0.2, 0.75], [0.0, 0.02, 0.45, 0.53]])
    assert self_distillation.predominant(shares, torch.tensor([0.01, 0.04, 0.24, 0.71])).tolist() == [0, 1, 2]
    never = torch.tensor([0, 0.3, 0.3, 0.4])  # a tissue that was never seen
    assert self_distillation.predominant(torch.tensor([[0.0, 0.1, 0.3, 0.6]]), never) == 3


def test_divergence_and_entropy_agree_with_torch():
    one, other = (torch.randn(5, 2, TISSUES, generator=torch_generator("logits", seed)) for seed in range(2))
    p, q = (torch.distributions.Categorical(logits=logits) for logits in (one, other))
    expected = torch.distributions.kl_divergence(p, q).sum(-1)
    torch.testing.assert_close(self_distillation.divergence(one, other), expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(self_distillation.entropy(one), p.entropy().sum(-1), atol=1e-6, rtol=1e-4)


def test_the_better_teacher_is_listened_to_with_labels_and_the_surer_one_without():
    def told(logit):
        return {INVASION: torch.tensor([[[0.0, logit]]])}

    student, right, sure = told(0.0), told(1.0), told(-4.0)  # the last is sure, and wrong
    known = Truth(torch.ones(1).long(), torch.full((1, TISSUES), torch.nan), torch.full((TISSUES,), 0.25))
    apart = torch.cat([self_distillation.divergence(one[INVASION], student[INVASION]) for one in (right, sure)])
    losses = torch.cat([self_distillation.by_image(one, known)[INVASION] for one in (right, sure)])
    doubts = torch.cat([self_distillation.entropy(one[INVASION]) for one in (right, sure)])
    for given, doubt in ((known, losses), (None, doubts)):
        weight = torch.exp(-doubt) / torch.exp(-doubt).sum()
        assert (weight[0] > weight[1]) == (given is not None)
        torch.testing.assert_close(
            self_distillation.distilled(student, [right, sure], given), (weight * apart).sum()
        )  # fmt: skip


def test_where_shares_are_not_known_the_surer_teacher_is_listened_to_and_the_rest_counts_in_full():
    outputs = [{PROPORTIONS: torch.randn(4, 2, TISSUES, generator=torch_generator("told", seed))} for seed in range(3)]
    known = truth(4)
    none = Truth(known.invasion, torch.full_like(known.proportions, torch.nan), known.mean)
    student, *teachers = outputs
    unsure = self_distillation.distilled(student, teachers, None)
    torch.testing.assert_close(self_distillation.distilled(student, teachers, none), unsure)
    assert not torch.isclose(self_distillation.distilled(student, teachers, known), unsure)
    some = Truth(known.invasion.repeat(2), torch.cat([known.proportions, none.proportions]), known.mean)
    arm, images = self_distillation.arms()[ALONE[PROPORTIONS]], noise(4)
    given = (known, images), (some, images.repeat(2, 1, 1, 1))  # twice the images: the same batch statistics
    terms = [self_distillation.losses(network((PROPORTIONS,)), arm, shown, of, noise(0)) for of, shown in given]
    torch.testing.assert_close(*terms)


def test_each_network_has_the_losses_that_it_names_and_each_pulls():
    teachers = [network((INVASION,), 1).eval(), network((PROPORTIONS,), 2).eval(), network(TASKS, 3).eval()]
    named = {
        ALONE[INVASION]: ["invasion"],
        ALONE[PROPORTIONS]: ["proportions"],
        MULTITASK: ["invasion", "proportions"],
        ON_LABELLED: ["invasion", "proportions", "labelled"],
        SELF: ["invasion", "proportions", "labelled", "unlabelled"],
    }
    for name, arm in self_distillation.arms().items():
        net = network(arm.tasks)
        terms = self_distillation.losses(net, arm, noise(), truth(), noise(3, 1), teachers)
        assert list(terms) == named[name]
        for term in terms.values():
            net.zero_grad()
            term.backward(retain_graph=True)
            assert sum(float(part.grad.abs().sum()) for part in net.main.parameters() if part.grad is not None) > 0
    assert all(part.grad is None for teacher in teachers for part in teacher.parameters())


def test_unlabelled_images_count_gradually_and_not_where_there_are_none():
    teachers, arm = [network((INVASION,), 1).eval(), network(TASKS, 3).eval()], self_distillation.arms()[SELF]
    both = self_distillation.arms()[ON_LABELLED]
    half, whole = (
        self_distillation.losses(network(), arm, noise(), truth(), noise(3, 1), teachers, done) for done in (0.5, 1.0)
    )
    torch.testing.assert_close(half["unlabelled"], whole["unlabelled"] / 2)
    torch.testing.assert_close(half["labelled"], whole["labelled"])
    assert "unlabelled" not in self_distillation.losses(network(), arm, noise(), truth(), noise(0), teachers)
    alike = self_distillation.losses(network(), both, noise(), truth(), noise(3, 1), teachers)
    torch.testing.assert_close(alike["labelled"], whole["labelled"])  # the same batch statistics


def test_of_invasion_alone_there_is_one_teacher():
    assert list(self_distillation.arms((INVASION,))) == [ALONE[INVASION], ON_LABELLED, SELF]


# training


RECIPE = {"tasks": list(TASKS), "seed": 5, "batch": 8, "steps": 100, "rate": 0.01, "stem_stride": 1}


def arrays(signal=True, number=60, seed=3):
    """A bright patch in the positive images, of the size that the first share states; or labels that mean nothing."""
    rng = generator("pictures", seed)
    label = np.arange(number) % 2
    image = rng.integers(40, 110, (number, SIDE, SIDE)).astype(np.uint8)
    side = np.where(label == 1, rng.integers(8, 16, number), 0)
    for picture, width in zip(image, side, strict=True):
        top, left = rng.integers(0, SIDE - width, 2)
        picture[top : top + width, left : left + width] += 120
    first = (side / SIDE) ** 2
    shares = np.stack([first, 0.1 + 0 * first, 0.3 - first / 2, 0.6 - first / 2], axis=1).astype(np.float32)
    if not signal:
        order = rng.permutation(number)
        label, shares = label[order], shares[order]
    return {"image": image, "label": label, "proportions": shares, "labelled": np.arange(number) % 3 > 0}


def trained(folder, given, new=None, **changes):
    """AUC and squared error of every network on new images."""
    recipe = RECIPE | changes
    folder.mkdir(exist_ok=True)
    multitask_training.train(folder, given, recipe)
    new, found = arrays(number=120, seed=4) if new is None else new, {}
    for name in self_distillation.arms(recipe["tasks"]):
        told = multitask_training.predict(
            multitask_training.restore(folder, recipe, name, TISSUES), new["image"]
        )  # fmt: skip
        auc = roc_auc_score(new["label"], told[INVASION][:, 0, 1]) if INVASION in told else None
        error = float(((told[PROPORTIONS][:, 0] - new["proportions"]) ** 2).mean()) if PROPORTIONS in told else None
        found[name] = auc, error
    return found


def spread(given):
    """Squared error of a network that says the mean."""
    return float(given["proportions"].var(axis=0).mean())


def test_what_can_be_learnt_is_learnt_by_every_network(tmp_path):
    for name, (auc, error) in trained(tmp_path, arrays()).items():
        assert auc is None or auc > 0.9, name
        assert error is None or error < 0.6 * spread(arrays(seed=4)), name


def test_where_labels_mean_nothing_nothing_is_learnt_of_the_true_ones(tmp_path):
    new = arrays(number=120, seed=4)
    for name, (_, error) in trained(tmp_path, arrays(signal=False), new).items():
        assert error is None or error > 0.8 * spread(new), name


def test_labels_of_the_unlabelled_are_not_looked_at(tmp_path):
    one = arrays()
    other = {name: of.copy() for name, of in one.items()}
    other["label"][~one["labelled"]] = 1 - one["label"][~one["labelled"]]
    other["proportions"][~one["labelled"]] = np.nan
    for name, given in (("one", one), ("other", other)):
        trained(tmp_path / name, given, steps=5)
    for name in self_distillation.arms():
        assert (tmp_path / "one" / multitask_training.weights(name)).read_bytes() == (
            tmp_path / "other" / multitask_training.weights(name)
        ).read_bytes()


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    trained(tmp_path / "whole", arrays(), steps=6)
    losses, calls = self_distillation.losses, []

    def killed(*arguments):
        calls.append(0)
        if len(calls) == 16:  # in the third network
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(multitask_training.self_distillation, "losses", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", arrays(), steps=6)
    trained(tmp_path / "killed", arrays(), steps=6)
    assert len(calls) == 16 + 3 * 6  # two networks were not trained again
    for name in self_distillation.arms():
        for file in (multitask_training.weights(name), multitask_training.history(name)):
            assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_what_nothing_can_be_learnt_from_is_refused(tmp_path):
    given = arrays()
    with pytest.raises(UserError, match=r"no negative labelled training image \(label 0\)"):
        multitask_training.train(tmp_path, {**given, "label": np.ones(60, int)}, RECIPE)
    none = {**given, "proportions": np.full((60, TISSUES), np.nan, np.float32)}
    with pytest.raises(UserError, match="no labelled training image has proportions of tissues"):
        multitask_training.train(tmp_path, none, RECIPE)
    assert list(trained(tmp_path, none, tasks=[INVASION], steps=2)) == [ALONE[INVASION], ON_LABELLED, SELF]


# jobs, and who has labels


def test_labels_are_nested_whole_patients_of_both_classes_and_the_rest_is_of_training_patients():
    of = multitask.images(RUN, "train")
    who = of.rows["patient_id"]
    decide = set(multitask.images(RUN, "extended").rows["patient_id"])
    assert set(who).isdisjoint(decide)
    job = multitask.trained(RUN)[25, 42]
    rows = job.inputs["images"].given["rows"].iloc[job.given["places"]]
    assert set(rows["split"]) == {"train"} and rows["label"].tolist() == job.given["label"].tolist()
    before = np.zeros(len(who), bool)
    for percent in (1, 10, 25, 50, 100):
        known = multitask.labelled(RUN, percent, 42)
        assert (before <= known).all() and set(of.label[known]) == {0, 1}
        assert set(who[known]).isdisjoint(who[~known])
        before = known
    assert who[~before].nunique() == pytest.approx(multitask.NEVER * who.nunique(), abs=1)
    assert (multitask.labelled(RUN, 25, 42) != multitask.labelled(RUN, 25, 142)).any()


def test_jobs_of_a_run():
    every, size = multitask.trained(RUN), RUN.profile.multitask
    assert set(every) == {(percent, seed) for percent in size.percents for seed in size.seeds}
    names = [job.name for job in catalogue.of_notebook(RUN, NOTEBOOK)]
    assert len(names) == len(set(names)) == 2 * len(every)
    laptop, paper = (Run(profiles.load(name)) for name in ("laptop", "paper"))
    assert laptop.profile.multitask == paper.profile.multitask
    assert {multitask_tables.ALL, multitask_tables.QUARTER} <= set(laptop.profile.multitask.percents)


# measures


def test_measures_are_their_own_pseudo_values_mean_and_agree_with_others():
    number = 300
    who = RNG.permutation(np.repeat(np.arange(number // 3), 3))
    true = RNG.dirichlet([1, 2, 3, 4], number)
    told = 0.5 * true + 0.5 * RNG.dirichlet([1, 2, 3, 4], number)
    true[0] = np.nan
    mean = np.nanmean(true, axis=0)
    score = RNG.dirichlet(np.ones(TISSUES), number) + (true / mean > 1)
    found = multitask.of_proportions(np.stack([told, score], axis=1), true, mean, who)
    square = ((told - true)[1:] ** 2).mean(axis=1)
    assert found[multitask.ERROR].mean() == pytest.approx(square.mean())
    left = [square[who[1:] != one].mean() for one in np.unique(who)]  # the jackknife itself
    by_jackknife = len(left) * square.mean() - (len(left) - 1) * np.array(left)
    np.testing.assert_allclose(found[multitask.ERROR].std(), by_jackknife.std(), rtol=0.03)
    most = (true / mean).argmax(axis=1)[1:]
    areas = [roc_auc_score(most == tissue, score[1:, tissue]) for tissue in range(TISSUES)]
    assert found[multitask.PREDOMINANT].mean() == pytest.approx(np.mean(areas))


def test_of_two_tissues_the_area_is_that_of_either_and_its_error_delongs():
    first = RNG.uniform(0.2, 0.8, 200)
    true, who = np.stack([first, 1 - first], axis=1), np.arange(200)
    noisy = np.clip(first + RNG.normal(0, 0.2, 200), 0.05, 0.95)
    told = np.stack([np.stack([noisy, 1 - noisy], 1)] * 2, axis=1)
    psi = multitask.of_proportions(told, true, np.array([0.5, 0.5]), who)
    delong = auc_interval((first > 0.5).astype(int), noisy)
    assert psi[multitask.PREDOMINANT].mean() == pytest.approx(delong.auc)
    error = psi[multitask.PREDOMINANT].std(ddof=1) / np.sqrt(200)
    assert error == pytest.approx(delong.standard_error, rel=0.02)
    alike = multitask.of_proportions(told, np.tile([0.4, 0.6], (200, 1)), np.array([0.5, 0.5]), who)
    assert list(alike) == [multitask.ERROR]  # one tissue is predominant everywhere


def test_a_relative_difference_is_that_of_the_means():
    psi = RNG.normal(2, 0.5, (5, 400))
    outcomes = multitask.Outcomes(RUN)
    vars(outcomes)["found"] = {("a", 100, "m"): 0.9 * psi, ("b", 100, "m"): psi}
    found = outcomes.measured("a", 100, "m", ("b", 100), relative=True)
    assert found.value == pytest.approx(-0.1) and found.low == pytest.approx(-0.1)
    plain = outcomes.measured("a", 100, "m", ("b", 100))
    assert plain.value == pytest.approx(-0.1 * psi.mean()) and plain.low < plain.value < plain.high


def test_claims_are_all_estimated_on_networks_that_are_trained():
    claims = load_claims(RELATED)
    assert set(claims.index[claims["notebook"] == NOTEBOOK]) == set(multitask_tables.CLAIMS)
    for measure, *networks in multitask_tables.CLAIMS.values():
        assert measure in multitask.MEASURES
        for name, percent in networks:
            assert name in self_distillation.arms() and percent in RUN.profile.multitask.percents


# shares of a view


def test_shares_of_phantoms_are_areas_of_their_masks():
    rows = cohort.pool(RUN, "ultrasound").iloc[:20]
    labels = structures.known(rows, 64).labels
    shares = tissue_shares.of_labels(labels)
    names = list(structures.STRUCTURES)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(shares[:, 0], (labels == names.index("tumour")).mean((1, 2)), atol=1e-6)
    assert sum(map(len, tissue_shares.TISSUES.values())) == len(names)


@pytest.fixture
def own(tmp_path):
    """Writes the manifest of four images, with these columns besides."""
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).save(tmp_path / f"{number}.png")
    frame = pd.DataFrame({
        "image": [f"{n}.png" for n in range(4)], "patient_id": list("abcd"), "centre": "north", "modality": "us",
        "label": [1, 1, 0, 0],
    })  # fmt: skip

    def write(*shares, names=tissue_shares.NAMES):
        columns = dict(zip(names, zip(*shares, strict=True), strict=True))
        frame.assign(**columns).to_csv(tmp_path / "own.csv", index=False)
        return tmp_path / "own.csv"

    return write


GOOD = ("0.1", "0.1", "0.3", "0.5")


def test_a_manifest_may_hold_shares_of_some_images(own):
    rows = own_manifest.read(own(GOOD, [""] * 4, ("0.1", "0.1", "0.3", "0.51"), GOOD))
    assert list(rows.columns) == [*manifest.COLUMNS, *tissue_shares.NAMES]
    shares = tissue_shares.of_rows(rows)
    np.testing.assert_allclose(shares[[0, 2]].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(shares[1]).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("0.1", "0.1", "0.3", "0.6"), r"row 2, share_tumour: the shares of the view add up to 1\.1, not 1\. Measure"),
        (("10", "0.1", "0.3", "0.5"), r"row 2, share_tumour: '10' is no share of the view\. Write 0 to 1"),
        (("0.1", "", "0.3", "0.5"), r"row 2, share_tumour: some shares of the view are empty\. Fill in all four, or n"),
        (("0.1", "a lot", "0.3", "0.5"), r"row 2, share_endometrium: 'a lot' is no share of the view"),
    ],
)
def test_shares_that_cannot_be_are_named_with_row_and_remedy(own, row, message):
    with pytest.raises(UserError, match=message):
        own_manifest.read(own(GOOD, row, GOOD, GOOD))


def test_all_four_shares_or_none(own):
    with pytest.raises(UserError, match=r"share_other: the column is absent, while share_tumour is there"):
        own_manifest.read(own(*[GOOD[:3]] * 4, names=tissue_shares.NAMES[:3]))
    with pytest.raises(UserError, match=r"share_tumour: empty for every image\. Fill the column, or remove it"):
        own_manifest.read(own(*[[""] * 4] * 4))


def test_shares_of_one_class_alone_are_refused(own):
    with pytest.raises(UserError, match=r"share_tumour: no patient with label 0 has a value, so that an empty cell"):
        own_manifest.read(own(GOOD, GOOD, [""] * 4, [""] * 4))


def test_without_shares_invasion_is_learnt_alone(own):
    patients = [f"{label}{number}" for label in (0, 1) for number in range(20)]
    rows = pd.DataFrame({
        "image": [f"{who}.png" for who in patients], "patient_id": patients, "centre": "north", "modality": "us",
        "sequence": "", "diagnosis": "", "invasion_depth": np.nan, "visible": pd.NA,
        "label": [int(who[0]) for who in patients], "split": "", "source": "file", "hash": patients,
    })  # fmt: skip
    with_shares = rows.assign(**dict(zip(tissue_shares.NAMES, (0.1, 0.1, 0.3, 0.5), strict=True)))
    run = Run(RUN.profile, own(*[GOOD] * 4))
    keys = []
    one = with_shares.assign(
        **{name: with_shares[name].where(rows["patient_id"] == "11") for name in tissue_shares.NAMES}
    )
    with cohort.asked(run, one):  # of one patient alone
        assert multitask.tasks(run) == (INVASION,) and "Proportions of tissues are known of fewer" in multitask.lacking(
            run
        )
    for table, expected in ((rows, (INVASION,)), (with_shares, TASKS)):
        with cohort.asked(run, table):
            assert multitask.tasks(run) == expected
            assert bool(multitask.lacking(run)) == (expected != TASKS)
            job = next(iter(multitask.trained(run).values()))
            assert job.recipe["tasks"] == list(expected) and list(job.inputs) == ["images"]
            keys.append(job.inputs["images"].key)
    assert keys[0] == keys[1]  # images depend on no share


def test_a_claim_without_an_interval_is_not_assessable():
    """Where without one of the patients nothing is left of a class: a note, and no error."""
    results = Results(RUN, NOTEBOOK)
    related_claims.book(results, "second_task_helps_invasion", estimated(np.array([[0.1, np.nan, 0.2]])), 3)
    (row,) = results.estimates
    assert not row["assessable"] and row["note"] == "3 patients are too few for an interval"
    related_claims.book(results, "unlabelled_images_help", estimated(RNG.normal(0.1, 1, (3, 50))), 50, "a note")
    assert results.estimates[1]["assessable"] and "50 patients; a note" in results.estimates[1]["note"]
