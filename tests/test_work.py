"""What the trainings of `paper` cost: counted steps times what the recipes say."""

import pandas as pd
import pytest

from ecsupport.core import paths
from ecsupport.core.profiles import Run
from ecsupport.experiments import catalogue, work

PAPER = Run.open("paper")
JOBS = catalogue.by_name(PAPER)
EACH = 1e12 * pd.read_csv(paths.reference() / "bench" / "paper.csv", index_col="name")["value"]


@pytest.mark.parametrize(
    ("name", "kind", "images"),
    [
        ("translator/sg_cyclegan/42", "translator/sg_cyclegan", 114000 * 6),
        ("screening/lsnet/42", "screening/lsnet", (22600 + 16200) * 32),
        ("screening/efficientnet/42", "screening/efficientnet", (22600 + 16200) * 32),
        ("downstream/real-only/42", "downstream", 8750 * 64),
        ("pixels/ultrasound/320", None, 0),
        ("scores/screening/lsnet/42", None, 0),
        ("design/sound/42", None, 0),
    ],
)
def test_a_training_costs_its_steps_times_its_batch(name, kind, images):
    assert work.total(PAPER, [JOBS[name]]) == pytest.approx(images * EACH[kind] if kind else 0)


def test_every_training_has_its_measure_and_the_sum_is_said():
    operations = work.total(PAPER, JOBS.values())
    assert operations > work.total(PAPER, (job for name, job in JOBS.items() if name.startswith("translator/"))) > 1e18
    last = catalogue.listing(PAPER)[-1]
    assert last == f"Trainings: {work.in_words(operations)}" and "days of a GPU at 30 TFLOP/s" in last


def test_other_sizes_were_not_measured():
    assert work.total(Run.open("laptop"), JOBS.values()) == 0


def test_a_masked_student_of_a_teacher_costs_more_than_its_dense_twin_and_guidance_costs_a_translator_more():
    assert EACH["screening/lsnet"] > 2 * EACH["screening/lsnet_dense"]
    assert EACH["translator/sg_cyclegan"] > EACH["translator/cyclegan"]
