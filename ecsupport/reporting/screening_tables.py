"""Tables of notebook 05: what networks cost, how well they tell patients apart, where keys lie, who is missed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ecsupport.cohort import manifest
from ecsupport.core import own_methods
from ecsupport.core.jobs import Job
from ecsupport.core.profiles import Run
from ecsupport.core.seeds import generator
from ecsupport.core.training import torch_generator
from ecsupport.evaluation.auc import auc_interval
from ecsupport.evaluation.decidable import Size, decidable
from ecsupport.evaluation.hierarchical import difference_table, hierarchical_difference
from ecsupport.evaluation.probes import mean_over_patients
from ecsupport.experiments import networks
from ecsupport.experiments.tested import Tested
from ecsupport.reporting.shown import FEWEST
from ecsupport.screening import cost
from ecsupport.screening.lsnet import build
from ecsupport.screening.settings import Settings

OTHERS = {"mobilenet_v2_wide": "MobileNet-V2", "efficientnet": "EfficientNet", "mobilevit": "MobileViT"}
NETWORKS = {"lsnet": "LSNet", **OTHERS}  # Table 3, by the name under which they are trained
SIZED = {"teacher": "teacher", "lsnet": "LSNet", "lsnet_dense": "LSNet, dense attention", **OTHERS}
PAPER_SIDE = 320  # pixels


def others() -> dict[str, str]:
    """What LSNet is compared with, by the name under which it is trained: `OTHERS`, then one's own networks."""
    return OTHERS | {name: name for name in own_methods.methods().networks}


def network_sizes(published: pd.DataFrame, settings: Settings, side: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parameters and operations: one row a network, printed, ours at the paper's size, and ours at `side` pixels.

    published: of `load_numbers`;  settings: LSNet's here.  The second table is `cost.table` at the paper's size, stage
    by stage, with a column network.
    """
    sizes, of_stages = [], []
    for name, label in (SIZED | others()).items():
        whole = build(name, torch_generator("05"), stem_stride=2)  # at the paper's size
        ours, here = cost.total(whole, PAPER_SIDE), cost.total(settings.build(name, 0), side)
        cells = published[(published["where"] == "table_3") & (published["column"] == label)]
        printed = cells.set_index("row")["printed"]
        in_text = published.loc["text.results.lsnet.teacher_parameters", "printed"] if name == "teacher" else ""
        counted = {
            "network": label,
            "published parameters": printed.get("Params", in_text),
            "published FLOPs": printed.get("FLOPs", ""),
            "parameters": int(ours["parameters"]),
            **{kind: ours[kind] for kind in cost.KINDS},
            "FLOPs": 2 * ours[list(cost.KINDS)].sum(),
            "parameters here": int(here["parameters"]),
            "layers here": here["layers"],
        }
        sizes.append(counted)
        of_stages.append(cost.table(whole, PAPER_SIDE).assign(network=label))
    return pd.DataFrame(sizes), pd.concat(of_stages)


def above_floor(tested: Tested, floor: Sequence[np.ndarray]) -> dict[str, pd.Series]:
    """ROC AUC of each network less that of the logistic floor, by name: a row of `difference_table`.

    floor: one row of scores (N,) a seed.
    """
    found = {}
    for name, scores in tested.scores.items():
        of = hierarchical_difference(tested.truth, scores, floor[: len(scores)], tested.patients)
        found[name] = difference_table(of).loc["roc_auc"]
    return found


def unseen_areas(run: Run, trained: Mapping[tuple[str, int], Job]) -> pd.DataFrame:
    """ROC AUC of Table 3's networks, and of LSNet's teachers, on the test patients and on those who decide.

    Columns: network, seed, patients, images, roc_auc, low, high (Obuchowski's 95 % interval over patients).
    """
    rows = {name: networks.patients(run, name) for name in dict.fromkeys(("test", networks.deciding(run)))}
    label = {name: manifest.target(of, run.profile.task).to_numpy() for name, of in rows.items()}
    names = NETWORKS | others()
    judged = {(names[name], seed): (job, "") for (name, seed), job in trained.items()}
    judged |= {("LSNet's teacher", seed): (job, "teacher_") for (name, seed), job in trained.items() if name == "lsnet"}
    areas = []
    for (network, seed), (job, role) in judged.items():
        score = networks.read_scores(networks.scores(run, job))
        for name, of in rows.items():
            found = auc_interval(label[name], score[role + name], of["patient_id"].to_numpy(), scale="logit")
            areas.append((network, seed, name, len(of), found.auc, found.low, found.high))
    return pd.DataFrame(areas, columns=["network", "seed", "patients", "images", "roc_auc", "low", "high"])


def at_published_size(decided: Tested, published: pd.DataFrame) -> pd.DataFrame:
    """How often a test set of the published size decides between LSNet and each other network: `decidable`, and drawn.

    published: of `load_numbers` (Results, "Data"). Its test set has a tenth of the patients and 336 images of each
    class. The pool has fewer images a patient, so that a draw has the published number of either.  Of a class with
    fewer patients half is drawn.
    """
    value = {name.removeprefix("text.results.data."): of for name, of in published["value"].items()}
    share = value["split_ratio.test"] / sum(value[f"split_ratio.{part}"] for part in ("training", "validation", "test"))
    images = int(value["test_ec_images"])
    positive = {
        "patients": round(share * value["ec_patients"]),
        "images": -(-images // manifest.EXTENDED_IMAGES),
    }
    there = {side: decided.rows["patient_id"][decided.truth == side].nunique() for side in (0, 1)}

    def at_most(number: int, side: int) -> int:
        return number if number <= there[side] else there[side] // 2

    negative = at_most(round(share * value["normal_participants"]), 0)
    tables = []
    for what, number in positive.items():
        size = Size(at_most(number, 1), negative, images)
        rng = generator("05", "published size", what)
        found = decidable(decided.truth, decided.scores, decided.patients, size, rng=rng)
        tables.append(found.assign(drawn=f"published number of {what}"))
    return pd.concat(tables)


def keys_on_anatomy(placed: pd.DataFrame, patients: np.ndarray) -> pd.DataFrame:
    """Where kept keys lie, runs averaged within patients: one row a chooser, block and zone, which are its index.

    placed: of `keys.on_zones`, of all runs;  patients: (N,), whose test image each is.  Columns: share, elsewhere,
    chance; estimate, low and high of share less elsewhere, 95 % interval over patients; patients, their number.
    """
    by = ["chooser", "block", "zone"]
    gain = placed["share"] - placed["elsewhere"]
    placed = placed.assign(patient=patients[placed["image"]], gain=gain).dropna()
    shares = placed.groupby([*by, "patient"], sort=False)[["share", "elsewhere", "chance"]].mean()
    found = {
        which: mean_over_patients(of["gain"], of["patient"], generator("05", "keys", *which))
        for which, of in placed.groupby(by, sort=False)
    }
    index = pd.MultiIndex.from_tuples(found, names=by)
    gains = pd.DataFrame(found.values(), index, ["estimate", "low", "high", "patients"])
    return shares.groupby(by, sort=False).mean().join(gains)


def sensitivity_by_group(tested: Tested) -> pd.DataFrame:
    """LSNet's sensitivity at one half by depth of invasion, view and centre: mean of patients, runs averaged.

    Columns: by, group, images, estimate, low, high (95 %, over patients; NaN where they are fewer than FEWEST),
    patients.
    """
    called = np.mean([score >= 0.5 for score in tested.scores["LSNet"]], axis=0)
    ill = tested.rows.assign(called=called)[tested.truth == 1]
    tail = []
    for (by, name), mask in _groups(ill).items():
        if mask.sum():
            of = ill[mask]
            value, low, high, n = mean_over_patients(of["called"], of["patient_id"], generator("05", by, name))
            tail.append((by, name, len(of), value, *((low, high) if n >= FEWEST else (np.nan, np.nan)), n))
    return pd.DataFrame(tail, columns=["by", "group", "images", "estimate", "low", "high", "patients"])


def _groups(ill: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Masks (N,) of the groups that can be told apart, by (what divides them, name)."""
    depth = pd.to_numeric(ill["invasion_depth"], errors="coerce")
    groups = {("all", "all"): np.ones(len(ill), bool)}
    if depth.notna().any():
        groups |= {
            ("depth", "below half of the wall"): (depth < 0.5).to_numpy(),
            ("depth", "half or more"): (depth >= 0.5).to_numpy(),
        }
    if ill["visible"].notna().any():
        visible = ill["visible"].astype(str).str.lower().to_numpy()
        groups |= {("view", "shows invasion"): visible == "true", ("view", "does not show it"): visible == "false"}
    return groups | {("centre", str(name)): (ill["centre"] == name).to_numpy() for name in sorted(set(ill["centre"]))}
