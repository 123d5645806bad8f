"""The arithmetic is that of the archive: miniature trainings give the losses recorded when it was made."""

import json

import numpy as np
import pytest
from miniatures import FILE, KINDS, revisions, train

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))
STALE = (
    "the arithmetic of {kind} is no longer that of the archive. If that is meant, raise its REVISION, and record the "
    "miniatures anew (python tests/miniatures.py); its archived results are stale then and have to be trained again"
)


def test_every_kind_is_recorded():
    assert set(RECORDED) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_miniature_gives_the_recorded_losses(kind):
    assert revisions(kind) == RECORDED[kind]["revisions"], "a REVISION was raised: python tests/miniatures.py"
    found, recorded = train(kind), RECORDED[kind]["record"]
    assert found.keys() == recorded.keys()
    for name, values in recorded.items():
        np.testing.assert_allclose(found[name], values, 1e-4, 1e-4, err_msg=f"{name}: {STALE.format(kind=kind)}")


def test_a_changed_arithmetic_is_noticed(monkeypatch):
    """The check itself: at another temperature of the soft labels the losses are others."""
    monkeypatch.setattr("ecsupport.screening.distillation.KD_TEMPERATURE", 2.9)
    with pytest.raises(AssertionError, match="no longer that of the archive"):
        test_a_miniature_gives_the_recorded_losses("screening: lsnet")
