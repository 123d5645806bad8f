"""What we noticed in a person's manifest: nothing that is refused, all that could mislead who does not know it.

Where a class can be told from a picture's size, border or file type, a network may learn that instead of anatomy.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from ecsupport.cohort.manifest import PLACES, in_cohort
from ecsupport.evaluation.auc import auc_interval

NEAR = 32  # bits of 256 in which near-duplicates differ at most; phantoms of two women differ in 80 or more
FEW = 30  # patients of a class; with fewer, even a test without a miss leaves sensitivity below .89 open
COLUMNS = ("what", "images", "patients", "example", "meaning")
Note = tuple[str, pd.Index, str, str]  # what, rows, example, meaning


def noticed(rows: pd.DataFrame, facts: pd.DataFrame | None = None, ignored: Sequence[str] = ()) -> pd.DataFrame:
    """One row a kind of finding: what, images and patients that it concerns, an example, and what it means here.

    rows: a manifest with its split, columns as in `cohort.manifest.COLUMNS`;  facts: of the same rows, see
    `cohort.pictures.facts`;  ignored: columns of the file that nothing reads. Empty where nothing was noticed.
    """
    rows = rows.reset_index(drop=True)
    notes = [("a column that nothing reads", rows.index[:0], name, "it is ignored") for name in ignored]
    notes += [*_of_names(rows), *_of_classes(rows), *_of_test_patients(rows)]
    if facts is not None:
        facts = facts.reset_index(drop=True)
        notes += [*_of_pictures(rows, facts), *_of_duplicates(rows, facts), *_of_shortcuts(rows, facts)]
    lines = [
        (what, len(of), rows.loc[of, "patient_id"].nunique(), example, meaning) for what, of, example, meaning in notes
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def near_duplicates(fingerprint: Sequence[str], group: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of pictures of two groups whose perceptual hashes differ in at most `NEAR` bits; O(N^2) but fast.

    fingerprint: (N,) hexadecimal, all of one length, a multiple of 8 bytes;  group: (N,) such as the split.
    """
    words = np.array([np.frombuffer(bytes.fromhex(digits), np.uint64) for digits in fingerprint])  # (N, words)
    group, pairs = np.asarray(group), []
    for one, two in combinations(dict.fromkeys(group.tolist()), 2):
        left, right = np.flatnonzero(group == one), np.flatnonzero(group == two)
        for block in np.array_split(left, 1 + len(left) * len(right) // 4_000_000):
            differ = np.bitwise_count(words[block, None] ^ words[None, right]).sum(axis=2, dtype=np.uint16)
            pairs += [(int(block[i]), int(right[j])) for i, j in np.argwhere(differ <= NEAR)]
    return pairs


def _of_names(rows: pd.DataFrame) -> Iterator[Note]:
    bare = rows["patient_id"].str.lstrip("0")
    mixed = rows["patient_id"].groupby(bare).transform("nunique") > 1
    if mixed.any():
        names = ", ".join(sorted(rows.loc[mixed, "patient_id"].unique())[:2])
        yield "patients whose names differ in leading zeros only", rows.index[mixed], names, "taken for two patients"
    invading = rows.index[(rows["label"] == 0) & (rows["invasion_depth"] > 0)]
    if len(invading):
        example = rows.at[invading[0], "image"]
        yield "controls with a depth of invasion", invading, example, "label and depth contradict each other"


def _of_classes(rows: pd.DataFrame) -> Iterator[Note]:
    """Classes that are bound to a centre: then a scanner's look tells the class."""
    us = rows[(rows["modality"] == "us") & in_cohort(rows)]
    if us["centre"].nunique() < 2:
        return
    for label, name in ((1, "carcinoma"), (0, "control")):
        of = us[us["label"] == label]
        if of["centre"].nunique() == 1:
            yield f"every {name} comes from one centre", of.index, of["centre"].iloc[0], "the centre may tell the class"
    for centre, of in us.groupby("centre"):
        if of["label"].nunique() == 1:
            yield "a centre with one class only", of.index, centre, "the centre may tell the class"


def _of_test_patients(rows: pd.DataFrame) -> Iterator[Note]:
    test = rows[(rows["split"] == "test") & (rows["modality"] == "us")]
    for label, name, rate in ((1, "carcinoma", "sensitivity"), (0, "control", "specificity")):
        of = test[test["label"] == label]
        if (count := of["patient_id"].nunique()) < FEW:
            limit = 0.025 ** (1 / count) if count else 0.0  # Clopper-Pearson, no error in `count` patients
            meaning = f"without a single error the interval of {rate} still begins at {limit:.2f}"
            yield f"fewer than {FEW} test patients with label {label} ({name})", of.index, "", meaning


def _of_pictures(rows: pd.DataFrame, facts: pd.DataFrame) -> Iterator[Note]:
    share = facts["width"] / facts["height"]
    sides = f"squeezed to a square; width to height {share.min():.2f} to {share.max():.2f}"
    for what, of, meaning in (
        ("orientation tags", facts["orientation"] != 1, "turned as the tag says before anything else"),
        ("pictures that are not square", facts["width"] != facts["height"], sides),
        ("transparent pictures", facts["transparent"].astype(bool), "laid on black"),
        ("pictures of at most two grey levels", facts["two_valued"].astype(bool), "they look like masks"),
    ):
        if of.any():
            yield what, rows.index[of], rows.at[rows.index[of][0], "image"], meaning


def _of_duplicates(rows: pd.DataFrame, facts: pd.DataFrame) -> Iterator[Note]:
    again = rows.index[rows["hash"].duplicated()]
    if len(again):
        example = rows.at[again[0], "image"]
        yield "one picture twice within a patient", again, example, "it counts twice, in training and in intervals"
    placed = rows.index[rows["split"].isin(PLACES)]
    pairs = near_duplicates(facts.loc[placed, "fingerprint"].tolist(), rows.loc[placed, "split"].tolist())
    if pairs:
        members = rows.index[sorted({int(placed[i]) for pair in pairs for i in pair})]
        one, two = (rows.at[placed[i], "image"] for i in pairs[0])
        meaning = f"{len(pairs):,} pairs look alike; look whether they are of one patient"
        yield "near-duplicates in two splits", members, f"{one} and {two}", meaning


def _of_shortcuts(rows: pd.DataFrame, facts: pd.DataFrame) -> Iterator[Note]:
    """Probes that see no anatomy, scored on patients they have not seen."""
    us = rows[(rows["modality"] == "us") & in_cohort(rows) & (rows["split"] != "unused")]
    of = facts.loc[us.index]
    endings = us["image"].str.extract(r"\.(\w+)$")[0].fillna("")
    kinds = pd.get_dummies(of["format"] + " " + of["mode"] + " " + endings).to_numpy(float)
    folds = us.groupby("label")["patient_id"].nunique().min()
    if us["label"].nunique() < 2 or folds < 2:
        return
    splitter = StratifiedGroupKFold(min(5, folds))
    for name, features in (
        ("size", of[["width", "height"]].to_numpy(float)),
        ("border", of[["border", "black_border"]].to_numpy(float)),
        ("file type", kinds),
    ):
        if (features == features[0]).all():
            continue
        probe = DecisionTreeClassifier(max_depth=4, min_samples_leaf=10, random_state=0)
        score = cross_val_predict(
            probe, features, us["label"], groups=us["patient_id"], cv=splitter, method="predict_proba"
        )[:, 1]
        found = auc_interval(us["label"].to_numpy(), score, us["patient_id"].to_numpy())
        if found.low > 0.5 or found.auc == 1:
            interval = f" ({found.low:.2f} to {found.high:.2f})" if found.low > 0.5 else ""
            meaning = f"told from it alone with an AUC of {found.auc:.2f}{interval}: a network may learn that"
            yield f"the class goes with the pictures' {name}", us.index, "", meaning
