"""The plan: what is cut and what never is, how long things take, and that a measurement is made once and under load."""

import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecsupport.core import paths, plan
from ecsupport.core.artefacts import Spec
from ecsupport.core.errors import UserError
from ecsupport.core.plan import Cell, draw_up, elapsed, seconds

CELLS = [
    Cell("SG-CycleGAN", "translators", 5, 240.0, 1),
    Cell("UNIT", "translators", 3, 120.0, 2),
    Cell("real only", "classifiers", 5, 60.0, 1),
    Cell("+ SG-CycleGAN", "classifiers", 5, 60.0, 1),
    Cell("+ UNIT", "classifiers", 3, 60.0, 3),
    Cell("+ UNIT, both classes", "classifiers", 3, 60.0, 4),
]


def kept(minutes, workers=1, cells=CELLS):
    table = draw_up(cells, workers, minutes).cells
    return table.loc[table["kept"], "cell"].tolist()


# what is cut


@pytest.mark.parametrize(
    ("minutes", "number"),
    [(0, 6), (42, 6), (41, 5), (39, 5), (38, 4), (36, 4), (35, 3), (1, 3)],  # in all 20 + 6 + 5 + 5 + 3 + 3 minutes
)
def test_cells_are_cut_from_the_lowest_priority_until_the_rest_fits(minutes, number):
    order = sorted(CELLS, key=lambda cell: cell.priority)
    assert set(kept(minutes)) == {cell.name for cell in order[:number]}


def test_nothing_is_kept_below_a_cut_even_where_it_would_fit():
    small = Cell("+ UNIT, one seed", "classifiers", 1, 1.0, 5)
    assert "+ UNIT, one seed" not in kept(41, cells=[*CELLS, small])
    assert "+ UNIT, one seed" in kept(43, cells=[*CELLS, small])


def test_the_first_priority_is_kept_even_where_it_does_not_fit_and_says_so():
    table = draw_up(CELLS, 1, 10).cells.set_index("cell")
    assert table["why"]["real only"] == "does not fit into 10 minutes on 1 workers, but is needed"
    assert table["why"]["UNIT"] == "does not fit into 10 minutes on 1 workers"
    assert draw_up(CELLS, 1, 40).cells.set_index("cell")["why"]["UNIT"] == "fits into 40 minutes on 1 workers"


cells = st.lists(
    st.builds(
        Cell,
        name=st.uuids().map(str),
        kind=st.sampled_from(["translators", "classifiers"]),
        count=st.integers(1, 5),
        seconds=st.floats(1, 500),
        priority=st.integers(1, 4),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(cells, st.integers(1, 3), st.floats(0.5, 100))
def test_every_plan_keeps_the_budget_and_whole_priorities(listed, workers, minutes):
    found = draw_up(listed, workers, minutes)
    by_priority = found.cells.groupby("priority")["kept"]
    assert (by_priority.min() == by_priority.max()).all()
    assert by_priority.max().is_monotonic_decreasing
    total = found.times["minutes"].iloc[-1]
    first = min(cell.priority for cell in listed)
    assert total <= minutes or not by_priority.max().drop(first).any()
    assert found.times.loc[found.times["kept"], "minutes"].iloc[:-1].sum() <= total * (1 + 1e-9)
    assert list(found.times["trainings"][:-1]) == [cell.count for cell in listed]


def test_where_minutes_are_limited_every_cell_must_be_measured():
    unknown = Cell("+ MUNIT", "classifiers", 1, np.nan, 4)
    assert "+ MUNIT" in kept(0, cells=[*CELLS, unknown])
    assert np.isnan(draw_up([*CELLS, unknown], 1, 0).times["minutes"].iloc[-1])
    with pytest.raises(ValueError, match="'\\+ MUNIT' was not measured"):
        draw_up([*CELLS, unknown], 1, 80)


# what the tables hold


def test_the_table_for_a_file_depends_on_no_time():
    faster = [Cell(c.name, c.kind, c.count, c.seconds * 0.99, c.priority) for c in CELLS]
    one, other = draw_up(CELLS, 2, 15), draw_up(faster, 2, 15)
    assert one.cells.to_csv() == other.cells.to_csv()
    assert not one.cells["kept"].all()
    assert not one.times.equals(other.times)
    assert one.keeps("real only")
    assert not one.keeps("+ UNIT")
    with pytest.raises(ValueError, match="0 cells are named 'UNITS'"):
        one.keeps("UNITS")


def test_the_table_for_a_person_tells_minutes_and_their_total():
    times = draw_up(CELLS, 2, 0).times.set_index("cell")
    assert times["minutes_each"]["SG-CycleGAN"] == 4
    assert times["minutes"]["SG-CycleGAN"] == 4 * 5 / 2
    assert times["minutes"]["from start to end"] == 14 + 8  # 5 x 4 + 3 x 2 and 16 x 1 on two workers: 12, 14; 8, 8
    assert times["trainings"]["from start to end"] == 24


# how long it takes


def test_a_worker_takes_the_next_training_when_it_is_free_and_kinds_wait_for_each_other():
    three = [Cell("a", "translators", 3, 10.0, 1)]
    assert [elapsed(three, workers) for workers in (1, 2, 3, 4)] == [30, 20, 10, 10]
    assert elapsed([*three, Cell("b", "translators", 1, 10.0, 1)], 2) == 20
    assert elapsed([*three, Cell("b", "classifiers", 1, 10.0, 1)], 2) == 30


@settings(deadline=None)
@given(cells, st.integers(1, 4))
def test_a_kind_takes_between_its_even_share_and_one_training_more(listed, workers):
    listed = [cell for cell in listed if cell.kind == listed[0].kind]
    share = sum(cell.count * cell.seconds for cell in listed) / workers
    longest = max(cell.seconds for cell in listed)
    assert max(share, longest) - 1e-6 <= elapsed(listed, workers) <= share + longest + 1e-6


# what is measured

warm = []


class Clock:
    """What a worker reads in the place of the time."""

    now = 0.0

    def perf_counter(self):
        return self.now


def idle(folder, steps, log):
    """Takes .2 s, then .01 s a step, once in a process 2 s more, by a clock of its own; logs who began and ended."""
    if not warm:
        plan.time = Clock()
    with Path(log).open("a", buffering=1) as file:
        file.write(json.dumps([os.getpid(), steps, "begin"]) + "\n")
        with contextlib.suppress(FileExistsError):
            Path(log).with_suffix(f".{len(warm)}").touch(exist_ok=False)
            time.sleep(0.2)  # the first of a round gives the other one time to run ahead, if it could
        plan.time.now += 0.2 + 0.01 * steps + (0 if warm else 2)
        warm.append(steps)
        file.write(json.dumps([os.getpid(), steps, "end"]) + "\n")


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """Short trainings to be timed in a workspace of its own, and the log of what ran."""
    monkeypatch.setenv("ECSUPPORT_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(plan.code, "digest", lambda module: "fixed")
    log = tmp_path / "log"

    def trainings(*lengths):
        return {steps: Spec("idle", idle, {"steps": steps, "log": str(log)}) for steps in lengths}

    return trainings, lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_a_training_is_timed_once_when_warm_and_by_all_workers_at_a_time(timed):
    trainings, log = timed
    found = seconds(trainings(10, 30), 100, 2)
    runs = pd.DataFrame(log(), columns=["worker", "steps", "what"])
    begun = runs[runs["what"] == "begin"]
    assert [of["steps"].tolist() for _, of in begun.groupby("worker")] == [[10, 10, 30]] * 2  # the first one warms up
    # no worker begins a run before both have ended the last one
    assert [sorted(runs["what"][i : i + 4]) for i in (0, 4, 8)] == [["begin", "begin", "end", "end"]] * 3
    taken = json.loads(next(paths.store().rglob(plan.MEASURED)).read_text())
    assert taken == pytest.approx({"short": 0.3, "long": 0.5})  # not the 2 s of the first run
    assert found == pytest.approx(0.5 + 0.2 / 20 * 70)
    assert seconds(trainings(30, 10), 100, 2) == found
    assert len(log()) == 12


def test_a_straight_line_goes_through_both_times_and_other_code_is_measured_anew(timed, monkeypatch):
    trainings, _ = timed
    measured = []

    def measure(folder, **arguments):
        measured.append(arguments)
        (folder / plan.MEASURED).write_text(json.dumps({"short": 5.0, "long": 7.0}))

    monkeypatch.setattr(plan, "measure", measure)
    assert seconds(trainings(10, 30), 100, 2) == pytest.approx(5 + 90 * 0.1)
    assert seconds(trainings(30, 10), 20, 2) == pytest.approx(6)
    assert len(measured) == 1
    seconds(trainings(10, 30), 100, 1)
    monkeypatch.setattr(plan.code, "digest", lambda module: "edited")
    seconds(trainings(10, 30), 100, 1)
    assert [(m["workers"], m["digest"]) for m in measured] == [(2, "fixed"), (1, "fixed"), (1, "edited")]
    assert (measured[0]["short"]["steps"], measured[0]["long"]["steps"]) == (10, 30)


def test_a_longer_run_that_took_less_time_does_not_make_all_others_free(timed, monkeypatch):
    def measure(folder, **arguments):
        (folder / plan.MEASURED).write_text(json.dumps({"short": 7.0, "long": 5.0}))

    monkeypatch.setattr(plan, "measure", measure)
    assert seconds(timed[0](10, 30), 100, 2) == 5.0


def failing(folder, steps):
    raise UserError(f"no image for {steps} steps")


def failing_once(folder, steps, claim):
    """Fails in the process that comes first, in the other one not."""
    with contextlib.suppress(FileExistsError):
        Path(claim).touch(exist_ok=False)
        raise UserError(f"no image for {steps} steps")


def test_what_cannot_be_trained_cannot_be_timed(timed):
    with pytest.raises(ValueError, match="1 trainings to time, expected two"):
        seconds(timed[0](10), 100, 1)
    with pytest.raises(UserError, match="no image for 1 steps"):
        seconds({n: Spec("failing", failing, {"steps": n}) for n in (1, 2)}, 100, 2)


def test_one_worker_that_fails_does_not_leave_the_others_waiting(timed, tmp_path):
    specs = {n: Spec("failing", failing_once, {"steps": n, "claim": str(tmp_path / "claim")}) for n in (1, 2)}
    with pytest.raises(UserError, match="no image for 1 steps"):
        seconds(specs, 100, 2)
