"""Arrays of one's own: grey levels of 8 bits in squares are taken, anything else is refused by name with a remedy."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from ecsupport.backbone import inputs
from ecsupport.cohort import images as cohort_images
from ecsupport.core.errors import UserError
from ecsupport.core.pixels import Rows, demand_grey
from ecsupport.core.training import torch_generator
from ecsupport.instruments import acceptance, features, segmenter
from ecsupport.screening import baseline, gradients, lsnet, training
from ecsupport.translation import inference, models
from ecsupport.translation.settings import Settings

SIDE = 64
GOOD = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE), np.uint8)
KINDS = {
    "share": (GOOD / 255, r"float64 of shape \(2, 64, 64\).*np.rint"),
    "float32": (GOOD.astype(np.float32), r"float32 of shape \(2, 64, 64\).*np.rint"),
    "16 bits": (GOOD.astype(np.uint16) * 256, r"uint16 of shape \(2, 64, 64\).*Scale them to 0 to 255"),
    "big-endian": (GOOD.astype(">u2"), r"uint16 of shape \(2, 64, 64\).*Scale"),
    "integers": (GOOD.astype(int), r"int64 of shape \(2, 64, 64\).*Scale"),
    "mask": (GOOD > 99, r"bool of shape \(2, 64, 64\).*Scale"),
    "one picture": (GOOD[0], r"uint8 of shape \(64, 64\).*images\[None\]"),
    "colour": (np.stack([GOOD] * 3, axis=-1), r"uint8 of shape \(2, 64, 64, 3\).*Turn colour into grey"),
    "channels": (GOOD[:, None], r"uint8 of shape \(2, 1, 64, 64\).*drop the axis of channels"),
    "oblong": (np.zeros((2, 500, 400), np.uint8), r"uint8 of shape \(2, 500, 400\).*to a square"),
    "oblong, as patches go": (np.zeros((2, 64, 128), np.uint8), r"uint8 of shape \(2, 64, 128\).*to a square"),
    "no pixels": (GOOD[:, :0, :0], r"uint8 of shape \(2, 0, 0\).*to a square"),
    "list": (list(GOOD), r"a list.*np.stack"),
    "tensor": (torch.from_numpy(GOOD), r"a Tensor.*np.stack"),
    "sizes": (np.array([GOOD[0], GOOD[1, :9]], dtype=object), r"object of shape \(2,\).*np.stack\(.*one size\.$"),
}
SMALL = Settings(image_size=SIDE, width=4, downsamplings=1, residual_blocks=1, batch=2, steps=10)


def network(name):
    return lsnet.build(name, torch_generator("test"), stem_stride=2)


def translator():
    return models.build("cyclegan", SMALL, torch_generator("test"))


TAKERS = {
    "predict, LSNet": lambda a: training.predict(network("lsnet"), a),
    "predict, another": lambda a: training.predict(network("mobilenet_v2"), a),
    "to_input": inputs.to_input,
    "teacher_maps": lambda a: gradients.teacher_maps(network("teacher"), a),
    "block_features": baseline.block_features,
    "translate": lambda a: inference.translate(translator(), a, ("test",)),
    "to_tensor": inference.to_tensor,
    "features": lambda a: features.features(features.start({"centre": 2}, 1), a),
    "read": lambda a: segmenter.read(segmenter.start(SIDE, 1), a),
    "accept": lambda a: acceptance.accept(lambda _: np.zeros((2, 2)), lambda *_: 0.0, GOOD, GOOD, a, None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_not_grey_levels_of_8_bits_in_squares_is_refused_by_every_taker(taker, kind):
    wrong, message = KINDS[kind]
    with pytest.raises(UserError, match=message) as caught:
        TAKERS[taker](wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("readable", [GOOD, GOOD[:, ::-1, ::-1], GOOD[:0], GOOD[:, :1, :1]])
def test_what_is_asked_for_is_given_back_as_it_is(readable):
    assert demand_grey(readable) is readable
    assert demand_grey(readable, readable.shape[1]) is readable
    with pytest.raises(UserError, match=r"mri: uint8 of shape .*expected uint8 of shape \(N, 9, 9\).* at 9 x 9 pixels"):
        demand_grey(readable, 9, "mri")


def test_no_image_has_no_features():
    assert baseline.block_features(GOOD[:0]).shape == (0, 128)


def test_a_size_that_a_network_cannot_take_is_one_message():
    with pytest.raises(UserError, match="32 x 32 pixels cannot be cut into patches .* Resize them to 64"):
        training.predict(network("lsnet"), GOOD[:, :32, :32])
    with pytest.raises(UserError, match="500 x 400 pixels are not square"):
        network("lsnet")(torch.zeros(1, 1, 500, 400))
    with pytest.raises(UserError, match="16 x 16 pixels are too small .* at least 17"):
        features.features(features.start({"centre": 2}, 1), GOOD[:, :16, :16])
    assert np.isfinite(features.features(features.start({"centre": 2}, 1), GOOD[:, :17, :17])).all()
    for pixels in (1, 2, 3):
        with pytest.raises(UserError, match=f"{pixels} x {pixels} pixels: the translator needs multiples of 2 from 4"):
            inference.translate(translator(), GOOD[:, :pixels, :pixels], ("test",))
    assert inference.translate(translator(), GOOD[:1, :4, :4], ("test",)).shape == (1, 4, 4)


@pytest.mark.parametrize("size", [0, -1, 64.0, "64"])
def test_a_size_that_is_no_number_of_pixels_is_refused_before_any_image_is_read(tmp_path, size):
    named = pd.DataFrame({"image": ["lost.png"], "hash": [""]})
    for take in (cohort_images.read, partial(cohort_images.write, tmp_path / "images.npy")):
        with pytest.raises(UserError, match="the side is a whole number of pixels"):
            take(named, size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("instrument", [features, segmenter])
def test_no_instrument_is_trained_on_other_arrays(tmp_path, instrument):
    numbers = dict.fromkeys(["centre", "diagnosis", "modality", "invasion"], np.array([0, 1]))
    with pytest.raises(UserError, match=r"float64 of shape \(2, 64, 64\).*np.rint"):
        instrument.train(tmp_path, {"image": GOOD / 255, "labels": GOOD % 5, **numbers}, 1, 1)


def test_rows_of_arrays_are_the_images_one_after_another_and_read_when_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (count, 4, 4), dtype=np.uint8) for count in (5, 7)]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    mapped = [np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(2)]
    places = [rng.integers(0, count, 9) for count in (5, 7)]
    rows = Rows(*zip(mapped, places, strict=True))
    whole = np.concatenate([array[place] for array, place in zip(arrays, places, strict=True)])
    assert (len(rows), rows.shape) == (18, whole.shape)
    for asked in (3, slice(2, 14), rng.integers(0, 18, 30), rng.random(18) < 0.5, np.empty(0, int)):
        np.testing.assert_array_equal(rows[asked], whole[asked])
    np.testing.assert_array_equal(np.asarray(rows), whole)
    assert all(isinstance(array, np.memmap) for array in rows.arrays)
    assert demand_grey(rows, 4) is rows
    with pytest.raises(UserError, match="expected uint8"):
        Rows((arrays[0].astype(float), [0]))
    with pytest.raises(UserError, match=r"\(N, 4, 4\)"):
        Rows((arrays[0], [0]), (np.zeros((2, 8, 8), np.uint8), [0]))
    with pytest.raises(UserError, match="Give one NumPy array"):
        Rows(([[0]], [0]))
    with pytest.raises(ValueError, match="as a mask"):
        Rows((arrays[0], np.ones(5, bool)))
