"""What every training loop stands on: named generators, a fixed number of threads, checkpoints, a stop at NaN."""

import io
import os
import pickle

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


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def retouched(whole):
    """The same checkpoint with one weight changed, written by torch as if nothing were wrong."""
    content = torch.load(io.BytesIO(whole), weights_only=True)
    content["state"]["weights"][3] = 1
    return saved(content)


DAMAGES = {
    "truncated": lambda whole, _: whole[:500],
    "empty": lambda *_: b"",
    "random": lambda *_: np.random.default_rng(1).bytes(2000),
    "pickle": lambda _, file: pickle.dumps(Code(file)),
    "pickle in torch": lambda _, file: saved({"state": Code(file)}),
    "one bit": lambda whole, _: (at := whole.index(bytes(400)) + 200) and whole[:at] + b"\x40" + whole[at + 1 :],
    "one weight": lambda whole, _: retouched(whole),
    "other tensors": lambda *_: saved({"weights": torch.zeros(3)}),
    "no mapping": lambda *_: saved([1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_one_message_of_ours_and_its_training_begins_anew(tmp_path, capsys, damage):
    file, configuration = tmp_path / "c.pt", {"width": 8}
    training.save(file, configuration, {"weights": torch.zeros(1000), "losses": [{"step": 1, "gan": 0.5}], "step": 4})
    whole = file.read_bytes()
    state = training.resumed(file, configuration)
    assert (state["step"], state["losses"]) == (4, [{"step": 1, "gan": 0.5}])
    file.write_bytes(damage(whole, tmp_path / "ran"))
    with pytest.raises(
        training.Unreadable, match=r"^[^\n]*c.pt is not a .*checkpoint[^\n]*Remove it to train anew$"
    ) as said:
        training.load(file, configuration)
    assert "weights_only" not in str(said.value)
    assert training.resumed(file, configuration) is None
    assert capsys.readouterr().err == f"{file} was truncated or altered, so this training begins anew\n"
    assert not file.exists()
    assert training.resumed(file, configuration) is None
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "ran").exists()


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


def test_final_weights_come_back_and_nothing_else_is_loaded(tmp_path):
    state = {"a": torch.randn(2, 3), "b": torch.arange(4)}
    for name in ("one", "two"):
        training.save_weights(tmp_path / name, state)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = training.load_weights(tmp_path / "one")
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    (tmp_path / "torn").write_bytes((tmp_path / "one").read_bytes()[:-5])
    torch.save(state, tmp_path / "pickle")
    for name in ("torn", "pickle", "absent"):
        with pytest.raises(training.Unreadable, match=f"{name} holds no weights as safetensors"):
            training.load_weights(tmp_path / name)
