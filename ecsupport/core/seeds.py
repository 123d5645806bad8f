"""Randomness by name: a generator is a pure function of the words that say what it is for."""

import hashlib
import json

import numpy as np


def generator(*key: str | int) -> np.random.Generator:
    """PCG64 generator seeded by the SHA-256 of `key`, e.g. `generator("phantom-v1", "EC0001", "anatomy")`.

    Keys that differ in any word give independent streams; the same key gives the same stream on every platform.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
