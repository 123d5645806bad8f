"""Instruments: an extractor that is reproducible and accepted, two that are refused, and the network that FID means."""

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from making import extractor, fit, reader
from torchvision.models import inception_v3

from ecsupport.cohort import images as cohort_images
from ecsupport.core import profiles
from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError
from ecsupport.core.paths import ROOT
from ecsupport.core.pixels import Rows
from ecsupport.core.seeds import generator
from ecsupport.core.training import TrainingError, torch_generator
from ecsupport.evaluation.frechet import frechet_distance
from ecsupport.instruments import acceptance, features, inception, segmenter

SMOKE = profiles.load("smoke")
MANIFEST = pd.read_csv(ROOT / "data_manifests" / "phantom" / "smoke.csv")


def pixels(rows):
    return cohort_images.read(rows, SMOKE.image_size)


@pytest.fixture(scope="module")
def pool():
    """The instrument patients' images, and what they teach."""
    rows = MANIFEST.query("split == 'instrument'")
    taught = {"centre": rows["centre"], "diagnosis": rows["diagnosis"], "modality": rows["modality"] == "us"}
    codes = {name: np.unique(values, return_inverse=True)[1] for name, values in taught.items()}
    return {"image": pixels(rows), **codes}


@pytest.fixture(scope="module")
def trained(pool):
    steps = SMOKE.screening.instrument_steps
    return features.restore(fit(extractor(pool, steps, 42)))


@pytest.fixture(scope="module")
def real():
    """Two sets of ultrasound of different training patients, and MRI of others; test images are not touched."""
    us = MANIFEST.query("split == 'train' and modality == 'us'")
    first = us["patient_id"].isin(sorted(us["patient_id"].unique())[::2])
    return pixels(us[first]), pixels(us[~first])[::3], pixels(MANIFEST.query("split == 'train' and modality == 'mri'"))


def accept(network, real):
    reference, probe, mri = real
    return acceptance.accept(
        lambda images: features.features(network, images),
        frechet_distance,
        reference,
        probe,
        mri,
        generator("acceptance"),
    )


# --- the embedded extractor -----------------------------------------------------------------------------------------


def test_the_trained_extractor_is_accepted(trained, real):
    got = accept(trained, real)
    assert got.accepted, got.reasons
    assert got.reasons == ()
    assert list(got.distances) == ["ladder", "strength", "distance"]
    floor = got.distances.query("strength == 0")["distance"]
    assert floor.nunique() == 1
    raw = got.distances.query("ladder == 'mri' and strength == 1")["distance"].item()
    assert raw > 20 * floor.iloc[0]


def test_random_weights_are_refused(real):
    for seed in range(3):
        got = accept(features.start({"centre": 5, "diagnosis": 4, "modality": 2}, seed), real)
        assert not got.accepted
        assert any(reason.startswith("matched_mri: distance ") for reason in got.reasons)


def test_a_network_that_need_not_tell_the_modality_is_refused(pool, real):
    steps = SMOKE.screening.instrument_steps
    blind = features.restore(fit(extractor(pool, steps, 42, tasks=("centre", "diagnosis"))))
    got = accept(blind, real)
    assert not got.accepted
    assert all(reason.startswith("mri: distance ") for reason in got.reasons)


def test_the_extractor_knows_its_three_tasks_on_patients_it_has_not_seen(trained):
    rows = MANIFEST.query("split in ('train', 'validation', 'test')")
    with torch.inference_mode():
        called = {task: logits.argmax(1).numpy() for task, logits in trained.logits(torch.tensor(pixels(rows))).items()}
    us = (rows["modality"] == "us").to_numpy()
    assert (called["modality"] == us).mean() > 0.95
    # chance: 0.2; five trainings: 0.30 to 0.32
    assert (called["centre"] == rows["centre"].str[-1].astype(int) - 1)[us].mean() > 0.25
    diagnoses = sorted(MANIFEST["diagnosis"].unique())
    right = np.array(diagnoses)[called["diagnosis"]] == rows["diagnosis"]
    # balanced over the diagnoses, since one of them is frequent; chance: 0.25
    assert right[us].groupby(rows["diagnosis"][us]).mean().mean() > 0.3


def test_features_are_many_fewer_than_images_and_do_not_depend_on_the_batch(trained, real):
    images = real[1][:70]
    whole = features.features(trained, images)
    assert whole.shape == (70, features.FEATURES)
    assert whole.dtype == np.float64
    np.testing.assert_allclose(features.features(trained, images, batch=9), whole, rtol=1e-4, atol=1e-4)
    assert np.linalg.matrix_rank(np.cov(whole, rowvar=False)) == features.FEATURES  # no dead feature
    with pytest.raises(UserError, match="there are 0 images. Give at least one"):
        features.features(trained, images[:0])


def test_mapped_images_give_the_features_of_those_in_memory_and_are_read_a_batch_at_a_time(trained, real, tmp_path):
    np.save(tmp_path / "images.npy", real[1][:70])
    mapped = Rows((np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(70)))
    asked, item = [], Rows.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "__getitem__", lambda rows, places: asked.append(places) or item(rows, places))
        found = features.features(trained, mapped)
    assert asked == [slice(0, 32), slice(32, 64), slice(64, 96)]
    np.testing.assert_array_equal(found, features.features(trained, real[1][:70]))  # bit for bit
    assert found.dtype == np.float64


def tiny(seed=0, n=40, side=32):
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    image = rng.integers(256, size=(n, side, side), dtype=np.uint8)
    return {"image": image, "centre": kind, "diagnosis": kind, "modality": kind}


def test_training_repeats_to_the_bit_and_leaves_global_randomness_alone(tmp_path):
    data, before = tiny(), torch.get_rng_state()
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        features.train(tmp_path / name, data, 3, seed)
        weights.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("instrument", "job"), [(features, extractor), (segmenter, reader)])
def test_a_raised_revision_makes_another_job(instrument, job, monkeypatch):
    before = job(tiny(), 2, 5).key
    monkeypatch.setattr(instrument, "REVISION", instrument.REVISION + 1)
    assert job(tiny(), 2, 5).key != before


def test_an_extractor_of_another_task_list_is_restored_as_such():
    folder = fit(extractor(tiny(), 2, 5, tasks=("modality",)))
    assert list(features.restore(folder).heads) == ["modality"]


def test_training_stops_at_nan(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match="is nan at step"):
        features.train(tmp_path, tiny(), 5, 1)


# --- acceptance -----------------------------------------------------------------------------------------------------


def test_an_instrument_of_the_mean_grey_level_alone_is_refused_for_what_it_cannot_see(real):
    reference, probe, mri = real
    got = acceptance.accept(
        lambda images: images.mean(axis=(1, 2))[:, None], frechet_distance, reference, probe, mri, generator("mean")
    )
    failed = {reason.split(":")[0] for reason in got.reasons}
    assert {"blur", "noise"} & failed
    assert "brightness" not in failed


def test_each_degradation_does_what_it_says(real):
    reference, probe, mri = (images[:20] for images in real)

    def spoil(ladder, strength, images=probe):
        return acceptance.degrade(images, ladder, strength, mri, reference, generator("spoil")).astype(float)

    flat = np.full((4, 64, 64), 100, np.uint8)
    assert spoil("noise", 10, flat).std() == pytest.approx(10, rel=0.05)
    assert (spoil("brightness", 15, flat) == 115).all()
    assert (spoil("brightness", 300, flat) == 255).all()
    middle = np.clip(probe, 60, 190)
    assert spoil("contrast", 0.4, middle).std((1, 2)) == pytest.approx(0.6 * middle.std((1, 2)), rel=0.02)
    assert spoil("contrast", 0.4, middle).mean((1, 2)) == pytest.approx(middle.mean((1, 2)), abs=0.5)
    edges = [np.abs(np.diff(spoil("blur", sigma))).mean() for sigma in (0, 1, 2)]
    assert edges[0] > 1.5 * edges[1] > 1.5 * edges[2]
    for share in (0.25, 1.0):
        kept = (spoil("mri", share) == probe).all(axis=(1, 2))
        assert kept.sum() == 20 - 20 * share
        added = spoil("mri", share)[~kept]
        assert all((image == mri).all(axis=(1, 2)).any() for image in added)
    with pytest.raises(ValueError, match="20 MRI for 21"):
        acceptance.degrade(real[1][:21], "mri", 0.5, mri, reference, generator("few"))


def test_matched_images_have_the_histogram_of_the_reference_and_keep_their_order(real):
    reference, _, mri = real
    matched = acceptance.match_histogram(mri, reference)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        raw = abs(np.quantile(mri, share) - np.quantile(reference, share))
        assert abs(np.quantile(matched, share) - np.quantile(reference, share)) <= max(3, raw / 3)
    levels = np.unique(np.stack([mri.ravel(), matched.ravel()]), axis=1)
    assert (np.diff(levels[1].astype(int)) >= 0).all()
    assert levels.shape[1] == len(np.unique(mri))  # one map for all images


# --- FID ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file like the standard one, of random weights."""
    draws, state = torch_generator("inception"), {}
    for name, value in inception.skeleton().state_dict().items():
        if value.dtype == torch.int64:
            state[name] = torch.zeros(value.shape, dtype=torch.int64)
        elif value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=draws) * (2 / value[0].numel()) ** 0.5
        else:
            state[name] = torch.rand(value.shape, generator=draws) + 0.5
    file = tmp_path_factory.mktemp("weights") / inception.FILE
    torch.save(state, file)
    return file


@pytest.fixture
def network(weights, monkeypatch):
    monkeypatch.setattr(inception, "HASH", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
    return inception.restore(weights)


def test_only_the_standard_weights_may_be_called_fid(weights, monkeypatch, tmp_path, trained):
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    with pytest.raises(UserError, match="Name its path in ECSUPPORT_FID_WEIGHTS"):
        inception.restore()
    with pytest.raises(UserError, match="does not exist"):
        inception.restore(tmp_path / "none.pth")
    monkeypatch.setenv(inception.VARIABLE, str(weights))
    with pytest.raises(UserError, match=r"the standard weights of FID 6726825d"):
        inception.restore()
    embedded = "Fréchet distance (embedded extractor)", "kernel distance (embedded extractor)"
    for other in (trained, inception.skeleton(), torch.nn.Identity()):
        assert inception.metric_names(other) == embedded


@pytest.mark.parametrize("damage", ["truncated", "a pickle", "other tensors"])
def test_unfit_weights_of_the_right_hash_are_one_message_of_ours(weights, monkeypatch, tmp_path, damage):
    file = tmp_path / "weights.pth"
    if damage == "truncated":
        file.write_bytes(weights.read_bytes()[:100_000])
    elif damage == "a pickle":
        file.write_bytes(pickle.dumps(tmp_path))
    else:
        torch.save({"fc.weight": torch.zeros(3)}, file)
    monkeypatch.setattr(inception, "HASH", sha256(file)[:8])
    with pytest.raises(
        UserError, match=r"^[^\n]*weights.pth does not hold the tensors of .*, or is truncated[^\n]*$"
    ) as said:
        inception.restore(file)
    assert "weights_only" not in str(said.value)


def test_a_file_of_the_right_hash_is_called_fid(network):
    assert inception.metric_names(network) == ("FID", "KID")
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_its_parameters_are_those_of_torchvision_s_inception_but_for_the_outputs():
    with torch.device("meta"):
        theirs = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict()
    ours = inception.skeleton().state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_it_differs_from_torchvision_s_by_the_pooling_alone(network, monkeypatch):
    with torch.device("meta"):
        theirs = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).eval()
    theirs.load_state_dict(network.state_dict(), assign=True)
    theirs.fc, theirs.transform_input = torch.nn.Identity(), False
    x = torch.rand(2, 3, 299, 299, generator=torch_generator("picture")) * 2 - 1
    with torch.inference_mode():
        other, ours = theirs(x), network.pooled(x)
        assert not torch.allclose(ours, other, rtol=1e-3)
        for name, block in theirs.named_children():
            if hasattr(block, "branch_pool"):
                block._forward = getattr(network, name)._forward
        torch.testing.assert_close(ours, theirs(x), rtol=1e-4, atol=1e-4)


def test_padding_is_not_counted_and_the_last_block_takes_the_maximum(network):
    ones = torch.ones(1, 192, 35, 35)
    with torch.inference_mode():
        flat = network.Mixed_5b._forward(ones)[-1]
        assert torch.allclose(flat, flat[:, :, :1, :1].expand_as(flat), rtol=1e-5)  # the border is no darker
        spike = torch.zeros(1, 2048, 8, 8)
        spike[:, :, 4, 4] = 1
        spread = network.Mixed_7c._forward(spike)[-1]
        assert torch.equal(spread[0, :, 3:6, 3:6], spread[:, :, 4:5, 4:5].expand(1, -1, 3, 3)[0])
        mean = network.Mixed_7b._forward(spike[:, :1280])[-1]
        alone = network.Mixed_7b.branch_pool(spike[:, :1280] * 0 + 1 / 9)
        torch.testing.assert_close(mean[0, :, 4, 4], alone[0, :, 4, 4])


def test_features_for_fid_are_2048_and_see_grey_levels_as_the_network_expects(network, monkeypatch):
    seen = []
    monkeypatch.setattr(network, "pooled", lambda x: seen.append(x) or x.flatten(1)[:, :2048])
    got = features.features(network, np.full((3, 40, 40), 64, np.uint8), batch=2)
    assert got.shape == (3, 2048)
    assert [tuple(x.shape) for x in seen] == [(2, 3, 299, 299), (1, 3, 299, 299)]
    assert torch.allclose(seen[0], torch.tensor(-0.5))
    monkeypatch.undo()
    assert features.features(network, np.zeros((1, 40, 40), np.uint8)).shape == (1, 2048)
