"""The segmenter and judge: exact truth, what kept anatomy measures, and who is refused before anything is scored."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import fit, reader

from ecsupport.cohort import images as cohort_images
from ecsupport.cohort import phantom
from ecsupport.cohort.anatomy import TISSUES, VISIBLE_DEPTH
from ecsupport.cohort.structures import STRUCTURES, Reading, known
from ecsupport.core import profiles
from ecsupport.core.errors import UserError
from ecsupport.core.paths import ROOT
from ecsupport.core.seeds import generator
from ecsupport.core.training import TrainingError, torch_generator
from ecsupport.evaluation import kept_anatomy
from ecsupport.instruments import segmenter

SMOKE = profiles.load("smoke")
MANIFEST = pd.read_csv(ROOT / "data_manifests" / "phantom" / "smoke.csv")
US = MANIFEST.query("modality == 'us'")
SIDE = SMOKE.image_size
ZONE, LINING, TUMOUR = (list(STRUCTURES).index(name) for name in ("junctional_zone", "endometrium", "tumour"))


def trained(rows, order=None):
    """A network that has learnt images of the rows with what is known of them, or of the rows in another order."""
    truth = known(rows if order is None else rows.iloc[order], SIDE)
    taught = {"labels": truth.labels, "invasion": truth.visible.astype(np.int64)}
    return segmenter.restore(fit(reader({"image": cohort_images.read(rows, SIDE), **taught}, STEPS, 42)))


STEPS = SMOKE.screening.instrument_steps // 2  # enough to be accepted; the notebooks train for all
POOL = US.query("split == 'instrument'")


@pytest.fixture(scope="module")
def network():
    return trained(POOL)


@pytest.fixture(scope="module")
def unseen():
    """Real ultrasound of training patients, whom no instrument knows; test images are not touched."""
    rows = US.query("split == 'train'").iloc[::4]
    return rows, cohort_images.read(rows, SIDE), known(rows, SIDE)


def accept(read, unseen):
    rows, pictures, truth = unseen
    return kept_anatomy.accept(
        read, pictures, truth.labels, truth.visible_depth, rows["patient_id"], generator("acceptance")
    )


# --- what is known --------------------------------------------------------------------------------------------------


def test_every_tissue_belongs_to_one_structure():
    assert sorted(itertools.chain(*STRUCTURES.values())) == sorted(TISSUES)


@pytest.mark.parametrize("modality", phantom.MODALITIES)
def test_known_anatomy_is_the_phantom_s_truth_in_fewer_words(modality):
    rows = MANIFEST[(MANIFEST["modality"] == modality) & (MANIFEST["split"] == "instrument")].iloc[::40]
    found = known(rows, SIDE)
    for image, labels, visible, depth in zip(
        rows["image"], found.labels, found.visible, found.visible_depth, strict=True
    ):
        version, patient, _, index = image.split("/")
        truth = phantom.truth(version, patient, int(index), modality, SIDE)
        for structure, tissues in STRUCTURES.items():
            expected = np.logical_or.reduce([truth.mask(tissue) for tissue in tissues])
            assert (kept_anatomy.mask(labels, structure) == expected).all()
        assert (visible, depth) == (truth.visible, truth.visible_depth)
    assert (found.visible == rows["visible"]).all()
    assert (found.visible == (found.visible_depth >= VISIBLE_DEPTH)).all()
    assert found.labels.dtype == np.uint8


def test_of_files_nothing_is_known():
    assert known(US[:0], SIDE).labels.shape == (0, SIDE, SIDE)
    for name in ("photo.png", "a/b/us/photo.png", "phantom-v1/EC00001/ct/0"):
        with pytest.raises(UserError, match="no phantom, so its anatomy is not known"):
            known(pd.DataFrame({"image": [name]}), SIDE)


# --- the network ----------------------------------------------------------------------------------------------------


def test_it_finds_thin_layers_and_judges_invasion_in_patients_it_has_not_seen(network, unseen):
    rows, pictures, truth = unseen
    reading = segmenter.read(network, pictures)
    assert reading.structures.shape == truth.labels.shape
    assert (reading.structures.dtype, reading.invasion.dtype) == (np.uint8, np.float64)
    assert ((reading.invasion >= 0) & (reading.invasion <= 1)).all()
    table = kept_anatomy.compare(reading.structures, truth.labels)
    other = truth.labels[kept_anatomy.exchanged(rows["patient_id"], generator("another patient"))]
    floor = kept_anatomy.compare(reading.structures, other)  # four trainings: Dice .54 to .74, and .22 to .27 here
    assert table["dice"].mean() > floor["dice"].mean() + 0.2
    assert table["boundary_mm"].mean() < floor["boundary_mm"].mean() / 2
    by_view = pd.Series(reading.invasion).groupby(truth.visible).mean()
    assert by_view[True] > by_view[False] + 0.3
    other = segmenter.read(network, pictures, batch=37)
    assert (other.structures != reading.structures).mean() < 1e-4
    np.testing.assert_allclose(other.invasion, reading.invasion, atol=1e-4)


def test_the_judge_sees_only_what_is_found(network, unseen):
    pictures = torch.from_numpy(unseen[1][:8])
    _, judged = network(pictures)
    judged.sum().backward()
    assert all(p.grad is None for name, p in network.named_parameters() if not name.startswith(("look", "judge")))
    assert all(p.grad.abs().sum() > 0 for p in network.look.parameters())


@pytest.mark.parametrize("side", [64, 96, 112, 128, 256])
def test_sides_from_64_to_256_are_read(side):
    network = segmenter.start(side, 1).train()
    pictures = torch.randint(256, (2, side, side), generator=torch_generator("side"), dtype=torch.uint8)
    structures, judged = network(pictures)
    assert (structures.shape, judged.shape) == ((2, 5, side, side), (2,))
    (segmenter.structure_loss(structures, pictures % 5) + judged.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())  # no dead layer


@pytest.mark.parametrize("side", [32, 48, 72, 100, 320])
def test_another_side_is_one_clear_error(side):
    with pytest.raises(UserError, match=f"images of {side} x {side} pixels: .* multiple of 16 from 64 to 256. Choose"):
        segmenter.start(side, 1)


def test_only_arrays_of_its_own_side_are_read(network, unseen):
    pictures = unseen[1]
    for wrong in (pictures.astype(float), pictures[0], pictures[:, ::2, ::2]):
        with pytest.raises(UserError, match="expected uint8 of shape .N, 64, 64."):
            segmenter.read(network, wrong)
    nothing = segmenter.read(network, pictures[:0])
    assert (nothing.structures.shape, nothing.structures.dtype) == ((0, 64, 64), np.uint8)
    assert (nothing.invasion.shape, nothing.invasion.dtype) == ((0,), np.float64)


def test_labels_go_where_their_pixels_go():
    """Where grey levels say the structure, they still do after all changes but those of grey levels."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(5, size=(8, 4, 4), dtype=np.uint8)
    labels = torch.from_numpy(coarse.repeat(16, 1).repeat(16, 2))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GAIN", "OFFSET", "NOISE"):
            patch.setattr(segmenter, name, 0.0)
        x, y = segmenter.varied(50 * labels, labels, torch_generator("varied"))
    assert not (y == labels).all((1, 2)).any()
    assert y.dtype == torch.uint8
    wide = torch.nn.functional.max_pool2d(y.float(), 3, 1, 1), -torch.nn.functional.max_pool2d(-y.float(), 3, 1, 1)
    inside = wide[0] == wide[1]  # away from borders, where grey levels are between two structures
    assert inside.float().mean() > 0.7
    assert torch.equal((x[inside] / 50).round(), y[inside].float())


def test_half_the_images_are_mirrored(monkeypatch):
    for name in ("GAIN", "OFFSET", "NOISE", "TURN", "SCALE", "MOVE"):
        monkeypatch.setattr(segmenter, name, 0.0)
    pictures = torch.randint(256, (40, 64, 64), generator=torch_generator("mirror"), dtype=torch.uint8)
    x, y = segmenter.varied(pictures, pictures, torch_generator("varied"))
    assert torch.equal(x.round().to(torch.uint8), y)
    same, mirrored = ((y == as_is).flatten(1).all(1) for as_is in (pictures, pictures.flip(2)))
    assert (same ^ mirrored).all()
    assert 10 < mirrored.sum() < 30


def test_the_structure_loss_is_cross_entropy_and_what_dice_lacks():
    labels = torch.from_numpy(known(POOL[:4], SIDE).labels)
    sure = 40.0 * torch.nn.functional.one_hot(labels.long(), 5).permute(0, 3, 1, 2)  # (B, S, S, 5) -> (B, 5, S, S)
    assert segmenter.structure_loss(sure, labels) < 0.01
    empty = torch.zeros(4, 5, SIDE, SIDE)
    empty[:, 0] = 40
    outside = (labels == 0).double().mean().item()
    expected = 40 * (1 - outside) + 0.8 + 0.2 * (1 - 2 * outside / (1 + outside))  # four structures have Dice 0
    assert segmenter.structure_loss(empty, labels).item() == pytest.approx(expected, abs=0.01)


def tiny(n=20, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(256, size=(n, 64, 64), dtype=np.uint8),
        "labels": rng.integers(5, size=(n, 64, 64), dtype=np.uint8),
        "invasion": np.arange(n) % 2,
    }


def test_training_repeats_to_the_bit_and_leaves_global_randomness_alone(tmp_path):
    data, before = tiny(), torch.get_rng_state()
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        segmenter.train(tmp_path / name, data, 2, seed)
        weights.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_training_stops_at_nan(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match="is nan at step"):
        segmenter.train(tmp_path, tiny(), 5, 1)


# --- acceptance -----------------------------------------------------------------------------------------------------


def test_the_trained_network_is_accepted(network, unseen):
    got = accept(partial(segmenter.read, network), unseen)
    assert got.accepted, got.reasons
    assert got.reasons == ()
    assert list(got.measured) == ["measure", "condition", "value"]
    value = got.measured.set_index(["measure", "condition"])["value"]
    assert value["dice_junctional_zone", "moved by 0/64"] == value["dice_junctional_zone", "own anatomy"]
    assert np.isnan(value["auc", "invasion against a tumour that does not invade"])  # the easy phantoms have too few


def test_random_weights_are_refused(unseen):
    for seed in range(2):
        got = accept(partial(segmenter.read, segmenter.start(SIDE, seed)), unseen)
        assert {"invasion", "junctional_zone", "endometrium"} <= {reason.split(":")[0] for reason in got.reasons}
        assert not got.accepted


def test_a_network_that_learnt_another_patient_s_truth_is_refused(unseen):
    order = kept_anatomy.exchanged(POOL["patient_id"], generator("wrong pairs"))
    got = accept(partial(segmenter.read, trained(POOL, order)), unseen)
    assert not got.accepted
    assert {"invasion", "junctional_zone", "endometrium"} <= {reason.split(":")[0] for reason in got.reasons}


def stub(truth, invasion=None, structures=None):
    """A reader that gives the truth whatever it is shown, but for what is named."""
    exact = Reading(
        truth.labels if structures is None else structures,
        truth.visible.astype(float) if invasion is None else invasion,
    )
    return lambda pictures: exact


def test_one_that_does_not_look_is_refused_for_not_following_the_image(unseen):
    got = accept(stub(unseen[2]), unseen)
    assert [reason.split(":")[0] for reason in got.reasons] == ["dice_junctional_zone", "boundary_mm"]


def test_a_judge_that_only_tells_tumours_is_refused_where_some_do_not_invade(unseen):
    rows, pictures, truth = unseen
    tumour = (truth.labels == TUMOUR).any((1, 2))
    reasons = accept(stub(truth, tumour.astype(float)), unseen).reasons
    assert not any(reason.startswith("invasion") for reason in reasons)  # too few on the easy phantoms
    depth = np.where(np.arange(len(rows)) % 4 == 0, 0.0, truth.visible_depth)
    got = kept_anatomy.accept(
        stub(truth, tumour.astype(float)), pictures, truth.labels, depth, rows["patient_id"], generator("tumours")
    )
    assert "invasion: AUC against a tumour that does not invade 0.500 is below 0.8" in got.reasons
    assert not any(reason.startswith("invasion: AUC against no invasion") for reason in got.reasons)


def test_a_judge_is_not_accepted_on_a_handful_of_views(unseen):
    rows, pictures, truth = unseen
    got = kept_anatomy.accept(
        stub(truth), pictures, truth.labels, np.zeros(len(rows)), rows["patient_id"], generator("none")
    )
    assert f"invasion: 0 views show it and {len(rows)} none; it takes 20 each" in got.reasons


def test_finding_nothing_is_refused_not_undefined(unseen):
    got = accept(stub(unseen[2], structures=np.zeros_like(unseen[2].labels)), unseen)
    assert "junctional_zone: Dice 0.000 is not 0.3 above that of other patients, 0.000" in got.reasons
    assert "boundary_mm: nan, nan, nan, nan do not rise as the image moves" in got.reasons


def test_images_move_by_what_is_said_each_in_one_direction():
    rng = np.random.default_rng(3)
    pictures = rng.integers(256, size=(40, 128, 128), dtype=np.uint8)
    got = kept_anatomy.moved(pictures, 1, generator("moved"))  # two pixels of 128
    ways = [(slice(2, None), slice(None, -2)), (slice(None, -2), slice(2, None))]
    counts = [
        (got[:, now] == pictures[:, then]).all((1, 2)).sum()
        + 1j * (got[:, :, now] == pictures[:, :, then]).all((1, 2)).sum()
        for now, then in ways
    ]
    vertical, horizontal = (sum(part) for part in ([c.real for c in counts], [c.imag for c in counts]))
    assert vertical + horizontal == 40
    assert min(*(c.real for c in counts), *(c.imag for c in counts)) > 0
    assert (kept_anatomy.moved(pictures, 0, generator("still")) == pictures).all()


# --- the measures ---------------------------------------------------------------------------------------------------


def bands(tops, thickness, side=64):
    """Horizontal bands from edge to edge."""
    masks = np.zeros((len(tops), side, side), bool)
    for mask, top in zip(masks, tops, strict=True):
        mask[top : top + thickness] = True
    return masks


@pytest.mark.parametrize("side", [64, 128])
def test_the_distance_of_moved_bands_is_known_in_millimetres(side):
    shift = np.array([0, 1, 2, 5]) * side // 64
    still = bands([20] * 4, 1, side)
    got = kept_anatomy.boundary_distance(np.stack([np.roll(m, s, 0) for m, s in zip(still, shift, strict=True)]), still)
    assert got == pytest.approx(shift / (side / 2) * 33.0)


def test_the_distance_of_thick_bands_is_that_of_their_two_edges():
    got = kept_anatomy.boundary_distance(bands([20], 10), bands([20], 14))
    assert got == pytest.approx([33 / 32 * (0 + 0 + 4 + 4) / 4])  # upper edges coincide, lower ones are 4 pixels apart


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_distance_agrees_with_all_pairs_of_boundary_pixels(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 1, 12, 12)) < rng.choice([0, 0.1, 0.5, 0.9, 1], (2, 1, 1, 1))
    edges = []
    for mask in masks[:, 0]:
        framed = np.pad(mask, 1, mode="edge")  # the image's own border is no boundary
        hidden = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
        edges.append(np.argwhere(mask & ~hidden))
    away = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=2)
    expected = 33 / 6 * np.concatenate([away.min(1), away.min(0)]).mean() if away.size else np.nan
    assert kept_anatomy.boundary_distance(*masks) == pytest.approx([expected], nan_ok=True)


def test_what_is_lacking_is_counted_not_scored():
    true, found = np.zeros((2, 4, 64, 64), np.uint8)
    true[:3, 10:12], true[:, 20:30] = ZONE, LINING
    found[[0, 1, 3], 10:12], found[:, 20:30] = ZONE, LINING
    found[1, 10:12] = 0
    found[1, 12:14] = ZONE
    table = kept_anatomy.compare(found, true)
    np.testing.assert_array_equal(table["dice_junctional_zone"], [1, 0, 0, np.nan])
    np.testing.assert_array_equal(table["dice_endometrium"], [1, 1, 1, 1])
    np.testing.assert_array_equal(table["dice"], [1, 0.5, 0.5, np.nan])
    np.testing.assert_allclose(table["boundary_mm"], [0, 1.5 * 33 / 32, np.nan, np.nan])
    assert (table["shown"].sum(), table["found"].sum()) == (3, 3)
    with pytest.raises(ValueError, match="expected the same images"):
        kept_anatomy.compare(found, true[:3])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(0, 99))
def test_exchanged_rows_are_never_of_the_same_patient_and_each_is_used_once(patients, seed):
    patients = np.array([f"MR{number}" for number in patients])
    most = np.unique(patients, return_counts=True)[1].max()
    if 2 * most > len(patients):
        with pytest.raises(ValueError, match="expected at most half"):
            kept_anatomy.exchanged(patients, np.random.default_rng(seed))
        return
    rows = kept_anatomy.exchanged(patients, np.random.default_rng(seed))
    assert (patients[rows] != patients).all()
    assert sorted(rows) == list(range(len(patients)))


def test_exchanged_patients_depend_on_the_generator_alone():
    patients = np.arange(60) // 3
    first, again, other = (kept_anatomy.exchanged(patients, generator("floor", n)) for n in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40))
def test_no_other_cut_has_a_higher_youden_index(views):
    score, visible = (np.array(column) for column in zip(*views, strict=True))
    if visible.all() or not visible.any():
        with pytest.raises(ValueError, match="expected some and not all"):
            kept_anatomy.threshold(score / 9, visible)
        return

    def youden(cut):
        return (score / 9 >= cut)[visible].mean() - (score / 9 >= cut)[~visible].mean()

    cut = kept_anatomy.threshold(score / 9, visible)
    assert cut in score / 9
    assert youden(cut) == pytest.approx(max(youden(other) for other in np.unique(score / 9)))


def test_survival_by_depth_counts_each_view_in_its_bin():
    depth = np.array([0, 0, 1e-9, 0.24, 0.25, 0.49, 0.5, 0.75, 1.0])
    judged = np.array([0, 1, 0, 1, 1, 0, 1, 1, 1], bool)
    patient = np.array(list("aabbbbbcc"))
    table = kept_anatomy.kept_by_depth(judged, depth, patient, generator("depth")).set_index("depth")
    assert table["images"].tolist() == [2, 2, 2, 1, 2]
    assert table["kept"].tolist() == [0.5, 0.5, 0.5, 1, 1]
    assert table["patients"].tolist() == [1, 1, 1, 1, 1]
    np.testing.assert_array_equal(kept_anatomy.status_kept(judged, depth), [1, 0, 1, 0, 1, 0, 1, 1, 1])
    alone = kept_anatomy.kept_by_depth(judged[:2], depth[:2], patient[:2], generator("depth"))
    assert alone["images"].tolist() == [2, 0, 0, 0, 0]
    assert alone["kept"][1:].isna().all()


def test_kept_shares_are_averaged_by_patient():
    judged, depth = np.array([1, 1, 1, 0], bool), np.full(4, 0.6)
    table = kept_anatomy.kept_by_depth(judged, depth, list("aaab"), generator("patients")).set_index("depth")
    assert table.loc["0.5 to 0.75", ["kept", "low", "high", "patients"]].tolist() == [0.5, 0, 1, 2]
