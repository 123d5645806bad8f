"""What every training loop needs: seeded torch generators, fixed threads, checkpoints, and a stop at the first NaN.

Serves Algorithm 1 and the two-phase training of LSNet. A run on one processor thread gives the same bits wherever it
stops and goes on; several runs fill several cores.
"""

import contextlib
import io
import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ecsupport.core.artefacts import replacing, sha256
from ecsupport.core.errors import UserError
from ecsupport.core.seeds import generator

ANEW = "Remove it to train anew"


class Unreadable(UserError):
    """A file that should hold a checkpoint and does not: truncated, altered, or something else."""


class TrainingError(RuntimeError):
    """A training run cannot go on: the message names the step, the loss term and the last good checkpoint."""


def torch_generator(*key: str | int, device: str = "cpu") -> torch.Generator:
    """Torch generator seeded by name, e.g. `torch_generator("sg_cyclegan", 42, "noise")`; see `seeds.generator`."""
    return torch.Generator(device).manual_seed(seed_of(*key))


def seed_of(*key: str | int) -> int:
    """The seed that a name stands for."""
    return int(generator(*key).integers(2**63))


@contextlib.contextmanager
def reproducible(threads: int = 1) -> Iterator[None]:
    """Within, torch uses `threads` processor threads and deterministic algorithms only; afterwards as before.

    Not on a machine with a GPU, where these are slow or do not exist: there a run repeats up to rounding.
    """
    fill = torch.utils.deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), fill.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    fill.fill_uninitialized_memory = False  # a guard against reading new memory, which costs a twentieth of the time
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        fill.fill_uninitialized_memory = before[2]


def device(name: str) -> torch.device:
    """The device of that name (`cpu` or `cuda`); UserError where this machine has none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "a GPU is asked for and this machine shows none. Choose the profile smoke or laptop, and no --device"
        )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 says what it is
    return torch.device(name)


def save(path: Path, configuration: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint at once: tensors, numbers and strings, with the configuration (JSON values) they belong to.

    Equal content gives equal bytes; its digest is written with it.
    """
    content = {"configuration": _plain(configuration), "state": dict(state)}
    with replacing(path) as temporary, temporary.open("wb") as file:  # by handle: torch writes a file's name into it
        torch.save({**content, "digest": _digest(content)}, file)


def load(path: Path, configuration: Mapping[str, Any], device: str = "cpu") -> dict[str, Any]:
    """The state of a checkpoint; `Unreadable` where it is damaged, UserError if it has another configuration."""
    content = tensors(path)
    try:
        digest = content.pop("digest")
        whole = digest == _digest(content)
        found, state = content["configuration"], content["state"]
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise Unreadable(f"{path} is not a checkpoint as it was written: altered, or of another program. {ANEW}")
    configuration = _plain(configuration)
    other = [k for k in {**found, **configuration} if found.get(k) != configuration.get(k)]
    if other:
        raise UserError(
            f"{path} is a checkpoint of another configuration: {other[0]} was {found.get(other[0])!r} and is now "
            f"{configuration.get(other[0])!r}. Remove it to train anew, or restore the setting"
        )
    return state if device == "cpu" else torch.load(path, map_location=device, weights_only=True)["state"]


def resumed(path: Path, configuration: Mapping[str, Any], device: str = "cpu") -> dict[str, Any] | None:
    """The state from which a killed training goes on; None where there is no checkpoint, or a damaged one.

    The latter is said in a line and removed. UserError where it belongs to another configuration.
    """
    if not path.is_file():
        return None
    try:
        return load(path, configuration, device)
    except Unreadable:
        sys.stderr.write(f"{path} was truncated or altered, so this training begins anew\n")
        path.unlink()
        return None


def tensors(path: Path) -> Any:
    """What a file of tensors, numbers and strings holds, on the cpu; `Unreadable` where it is no such file."""
    content = io.BytesIO(path.read_bytes() if path.is_file() else b"")  # an error of the disk is none of the content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(content, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # torch raises nearly anything, and advises to lift the guard against code
        raise Unreadable(
            f"{path} is not a readable checkpoint: absent, truncated, or not tensors alone "
            f"(a pickle that could run code is never loaded). {ANEW}"
        ) from None


def _digest(value: Any) -> str:
    """SHA-256 of nested mappings and sequences of tensors, numbers and strings, whatever device they are on."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return sha256(f"{value.dtype} {tuple(value.shape)} {sha256(flat.data)}".encode())
    if isinstance(value, Mapping):
        return _digest([part for item in value.items() for part in item])
    if isinstance(value, list | tuple):
        return sha256(" ".join(map(_digest, value)).encode())
    return sha256(f"{type(value).__name__} {value!r}".encode())


def _plain(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(configuration)))  # a pickle tells equal strings from the same one twice


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write final weights as safetensors, at once: nothing in such a file can be run."""
    with replacing(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, temporary)


def load_weights(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Weights that `save_weights` wrote; `Unreadable` where the file is absent, damaged, or a pickle."""
    try:
        return load_file(path, device)
    except (SafetensorError, FileNotFoundError):
        raise Unreadable(
            f"{path} holds no weights as safetensors: absent, truncated, or another format "
            f"(a pickle that could run code is never loaded). {ANEW}"
        ) from None


def demand_finite(terms: Mapping[str, torch.Tensor | float], step: int, checkpoint: Path | None = None) -> None:
    """TrainingError naming step, first offending term and last good checkpoint where a loss is NaN or infinite."""
    numbers = {name: float(torch.as_tensor(value).detach()) for name, value in terms.items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            stands = checkpoint is not None and checkpoint.is_file()
            kept = f"The last good checkpoint is {checkpoint}" if stands else "No checkpoint stands yet"
            raise TrainingError(
                f"loss term {name!r} is {value} at step {step}. {kept}. Lower the learning rate, or look at the images"
            )
