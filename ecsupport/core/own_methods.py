"""Methods of a person's own: a file outside the package whose translators and networks take part in Tables 1 and 3.

`ECSUPPORT_METHODS` names the file, so that every process of a run knows it. It is Python and runs as such.
"""

import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

from ecsupport.core.artefacts import sha256
from ecsupport.core.errors import UserError

VARIABLE = "ECSUPPORT_METHODS"
NAME = re.compile(r"[a-z][a-z0-9_.-]*")  # a part of a job's name, so a folder too


@dataclass(frozen=True)
class Methods:
    """What the file names: translators, subclasses of `translation.interface.Translator`, and networks, by name.

    networks: functions of the stem's stride that give a network with the contract of `screening.comparators.build`
    rates: of AdamW, by network, where it is not LSNet's of the profile
    digest: of the file; what was trained with another is not used
    """

    translators: Mapping[str, type] = field(default_factory=dict)
    networks: Mapping[str, Callable[[int], Any]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""


def file() -> Path | None:
    """The file of one's own methods, None without one. UserError where it does not exist."""
    if not (named := os.environ.get(VARIABLE)):
        return None
    path = Path(named).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"{path} {'is no file' if path.exists() else 'does not exist'}. Give METHODS a Python file")
    return path


def methods() -> Methods:
    """What the file names; nothing without one. UserError with the line where the file fails, or for an unfit name."""
    path = file()
    return _read(path, sha256(path)) if path else Methods()


@cache
def _read(path: Path, digest: str) -> Methods:
    spec = importlib.util.spec_from_file_location("own_methods", path)
    if spec is None:
        raise UserError(f"{path} is no Python file. Give METHODS a file that ends in .py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for their types
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        raise UserError(f"{path}, line {line}: {type(error).__name__}: {error}. Mend that line") from error
    found = {name: getattr(module, name.upper(), {}) for name in ("translators", "networks", "rates")}
    for kind, named in found.items():
        if not isinstance(named, dict):
            raise UserError(f"{path}: {kind.upper()} is {type(named).__name__}. Make it a dictionary by name")
        for name, of in named.items():
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise UserError(f"{path}: {kind.upper()} has the name {name!r}. Use small letters, digits, _ . and -")
            if kind != "rates" and not callable(of):
                raise UserError(f"{path}: {kind.upper()}[{name!r}] is {type(of).__name__}. Give a class or a function")
    for name, rate in found["rates"].items():
        if name not in found["networks"] or not (isinstance(rate, Real) and rate > 0):
            raise UserError(f"{path}: RATES[{name!r}] is {rate!r}. Give a rate above 0 to a name of NETWORKS")
    if not (found["translators"] or found["networks"]):
        raise UserError(f"{path} names no method. Define TRANSLATORS or NETWORKS, dictionaries by name")
    return Methods(**found, digest=digest)


def refuse_taken(kind: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """UserError where a method of one's own has the name of one that is known; kind: translators or networks."""
    for name in getattr(methods(), kind):
        if name in known:
            raise UserError(f"{file()}: {kind.upper()} has {name!r}, which the companion has. Choose another name")
