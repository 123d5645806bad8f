"""What every training loop stands on: named generators, a fixed number of threads, checkpoints, a stop at NaN."""

import numpy as np
import pytest
import torch

from ecsupport.core import training
from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError
from ecsupport.core.training import TrainingError, demand_finite, reproducible, torch_generator


def test_torch_generators_are_named_like_the_others():
    draws = [torch.rand(3, generator=torch_generator(*key)).tolist() for key in (("a", 1), ("a", 1), ("a", 2))]
    assert draws[0] == draws[1] != draws[2]


def test_threads_and_determinism_hold_within_and_are_given_back():
    before = torch.get_num_threads()
    with reproducible(1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_checkpoint_comes_back_and_equal_content_gives_equal_bytes(tmp_path):
    state = {"weights": {"w": torch.arange(3.0)}, "generator": torch_generator("a").get_state(), "step": 5}
    for name in ("one.pt", "two.pt"):
        training.save(tmp_path / name, {"width": 8}, state)
    assert sha256(tmp_path / "one.pt") == sha256(tmp_path / "two.pt")
    back = training.load(tmp_path / "one.pt", {"width": 8})
    assert back["step"] == 5
    assert torch.equal(back["weights"]["w"], torch.arange(3.0))


def test_a_checkpoint_of_another_configuration_is_one_message(tmp_path):
    training.save(tmp_path / "c.pt", {"width": 8, "steps": 10}, {"step": 1})
    with pytest.raises(UserError, match=r"c.pt is a checkpoint of another configuration: width was 8 and is now 16"):
        training.load(tmp_path / "c.pt", {"width": 16, "steps": 10})


def test_half_a_checkpoint_is_one_message(tmp_path):
    training.save(tmp_path / "c.pt", {}, {"weights": torch.zeros(1000)})
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:500])
    with pytest.raises(UserError, match=r"c.pt is not a readable checkpoint.*Remove it"):
        training.load(tmp_path / "c.pt", {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_step_term_and_checkpoint(tmp_path, value):
    demand_finite({"cycle": 0.1}, 7)
    with pytest.raises(TrainingError, match="'domain' is (nan|inf) at step 7. No checkpoint stands yet"):
        demand_finite({"cycle": torch.tensor(0.1), "domain": torch.tensor(value)}, 7, tmp_path / "c.pt")
    training.save(tmp_path / "c.pt", {}, {"step": 5})
    with pytest.raises(TrainingError, match=r"The last good checkpoint is .*c.pt"):
        demand_finite({"domain": np.float64(value)}, 7, tmp_path / "c.pt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_profile_that_needs_a_gpu_says_so():
    assert training.device("cpu").type == "cpu"
    with pytest.raises(UserError, match="Choose the profile smoke or laptop"):
        training.device("cuda")
