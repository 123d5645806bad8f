"""What we noticed in a person's manifest: nothing that is refused, all that could mislead who does not know it.

Where a class can be told from a picture's size, border or file type, a network may learn that instead of anatomy.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from ecsupport.cohort.covariates import NAMES
from ecsupport.cohort.manifest import PLACES, in_cohort
from ecsupport.core.tables import canonical
from ecsupport.evaluation.auc import auc_interval

NEAR = 1 / 8  # share of the bits that vary in which near-duplicates differ at most
CONSTANT = 0.95  # share of pictures that agree in a bit from which on it says nothing: a fan's edge, a machine's frame
TELLING = 64  # bits that must vary for the hash to tell pictures apart
TOO_MANY = 0.01  # share of pairs of patients' pictures that look alike from which on it does not either
TOLD = 0.55  # AUC above which the lower limit must lie, so that no trivial difference is reported of many images
FOLDERS = 10  # from so many on, a folder may be a patient
SMALL = 16  # times fewer pixels than usual: a thumbnail
FEW = 30  # patients of a class; with fewer, even a test without a miss leaves sensitivity below .89 open
THICKNESS, THIN = "endometrial_thickness_mm", 2.0  # a median that few clinics have
COLUMNS = ("what", "images", "patients", "example", "meaning")
Note = tuple[str, pd.Index, str, str]  # what, rows, example, meaning


def noticed(rows: pd.DataFrame, facts: pd.DataFrame | None = None, ignored: Sequence[str] = ()) -> pd.DataFrame:
    """One row a kind of finding: what, images and patients that it concerns, an example, and what it means here.

    rows: a manifest with its split, columns as in `cohort.manifest.COLUMNS`;  facts: of the same rows, see
    `cohort.pictures.facts`;  ignored: columns of the file that nothing reads. Empty where nothing was noticed.
    """
    rows = rows.reset_index(drop=True)
    notes = [("a column that nothing reads", rows.index[:0], name, "it is ignored") for name in ignored]
    notes += [*_of_names(rows), *_of_classes(rows), *_of_test_patients(rows), *_of_covariates(rows)]
    if facts is not None:
        facts = facts.reset_index(drop=True)
        notes += [*_of_pictures(rows, facts), *_of_duplicates(rows, facts), *_of_shortcuts(rows, facts)]
    lines = [
        (what, len(of), rows.loc[of, "patient_id"].nunique(), example, meaning) for what, of, example, meaning in notes
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


class Alike(NamedTuple):
    """Pictures of two patients that look alike, in two splits or in one: how many pairs, which pictures, a pair."""

    pairs: int
    members: np.ndarray
    first: tuple[int, int]


def near_duplicates(fingerprint: Sequence[str], patient: Sequence[str], split: Sequence[str]) -> dict[bool, Alike]:
    """Pictures of different patients whose perceptual hashes nearly agree: True in two splits, False in one.

    fingerprint: (N,) hexadecimal digits of 256 bits;  patient, split: (N,). Bits that hardly vary over the pictures do
    not count. In O(N^2) time, but fast, and little memory. ValueError where the hash cannot tell these pictures apart:
    fewer than TELLING bits vary, or more than TOO_MANY of all pairs look alike.
    """
    bits = np.array([np.frombuffer(bytes.fromhex(digits), np.uint8) for digits in fingerprint])  # (N, 32)
    share = np.unpackbits(bits, axis=1).mean(axis=0)  # (256,)
    varies = (share > 1 - CONSTANT) & (share < CONSTANT)
    if varies.sum() < TELLING:
        raise ValueError(f"only {varies.sum()} of {len(varies)} bits vary")
    words = np.ascontiguousarray(bits & np.packbits(varies)).view(np.uint64)  # (N, 4)
    (_, who), (_, where) = (np.unique(np.asarray(names), return_inverse=True) for names in (patient, split))
    found, considered, count = {True: [0, None], False: [0, None]}, 0, len(words)
    members = {apart: np.zeros(count, bool) for apart in found}
    step = max(1, 4_000_000 // count)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        differ = np.bitwise_count(words[rows, None] ^ words[None]).sum(axis=2, dtype=np.uint16)  # (b, N)
        other = (who[rows, None] != who) & (np.arange(start, rows.stop)[:, None] < np.arange(count))
        alike, considered = other & (differ <= NEAR * varies.sum()), considered + int(other.sum())
        for apart, of in found.items():
            here = alike & ((where[rows, None] != where) == apart)
            if here.any():
                of[0] += int(here.sum())
                i, j = divmod(int(here.argmax()), count)
                of[1] = of[1] or (start + i, j)
                members[apart][rows] |= here.any(axis=1)
                members[apart] |= here.any(axis=0)
    if (total := found[True][0] + found[False][0]) > TOO_MANY * considered and total > TELLING:
        raise ValueError(f"{total:,} of {considered:,} pairs look alike")
    return {apart: Alike(of[0], np.flatnonzero(members[apart]), of[1]) for apart, of in found.items() if of[0]}


def _of_names(rows: pd.DataFrame) -> Iterator[Note]:
    bare = rows["patient_id"].map(canonical).str.replace(r"[\W_]+", "", regex=True)
    bare = bare.str.replace(r"(?<!\d)0+(?=\d)", "", regex=True)
    mixed = rows["patient_id"].groupby(bare).transform("nunique") > 1
    if mixed.any():
        names = rows.loc[mixed, "patient_id"]
        example = " and ".join(names[bare == bare[names.index[0]]].unique()[:2])
        yield "patients whose names differ in signs or zeros only", names.index, example, "taken for two patients"
    folder = rows["image"].str.rpartition("/")[0]
    shared = rows["patient_id"].groupby(folder).transform("nunique") > 1
    if folder.nunique() >= FOLDERS and shared.any():
        what = f"{folder[shared].nunique()} of {folder.nunique()} folders hold pictures of several patients"
        yield what, rows.index[shared], folder[shared].iloc[0], "if a folder is a woman, she is in several splits"
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
    alone = us.groupby("centre")["label"].transform("nunique") == 1
    if alone.any():
        names = us.loc[alone, "centre"].unique()
        what = f"{len(names)} of {us['centre'].nunique()} centres with one class only"
        yield what, us.index[alone], names[0], "the centre may tell the class"


def _of_test_patients(rows: pd.DataFrame) -> Iterator[Note]:
    test = rows[(rows["split"] == "test") & (rows["modality"] == "us")]
    for label, name, rate in ((1, "carcinoma", "sensitivity"), (0, "control", "specificity")):
        of = test[test["label"] == label]
        if (count := of["patient_id"].nunique()) < FEW:
            limit = 0.025 ** (1 / count) if count else 0.0  # Clopper-Pearson, no error in `count` patients
            meaning = f"without a single error the interval of {rate} still begins at {limit:.2f}"
            yield f"fewer than {FEW} test patients with label {label} ({name})", of.index, "", meaning


def _of_covariates(rows: pd.DataFrame) -> Iterator[Note]:
    """Clinical values whose absence tells the class, and a thickness that looks like centimetres."""
    names = [name for name in NAMES if name in rows]
    us = rows[(rows["modality"] == "us") & in_cohort(rows)]
    us = us.assign(**us.groupby("patient_id")[names].transform("first")).drop_duplicates("patient_id")
    for name in names:
        absent = us[name].isna()
        if 0 < absent.sum() < len(us) and us["label"].nunique() > 1:
            area = auc_interval(us["label"], absent.astype(float))
            if max(area.low, 1 - area.high) > TOLD:
                auc = max(area.auc, 1 - area.auc)
                yield f"{name} is missing unevenly", us.index[absent], "", f"its absence tells the class, AUC {auc:.2f}"
    if THICKNESS in us and (middle := us[THICKNESS].median()) < THIN:
        yield f"{THICKNESS} is small", us.index[us[THICKNESS] < THIN], "", f"median {middle:.1f}: perhaps centimetres"


def _of_pictures(rows: pd.DataFrame, facts: pd.DataFrame) -> Iterator[Note]:
    share, area = facts["width"] / facts["height"], facts["width"] * facts["height"]
    sides = f"squeezed to a square; width to height {share.min():.2f} to {share.max():.2f}"
    for what, of, meaning in (
        ("orientation tags", facts["orientation"].between(2, 8), "turned as the tag says before anything else"),
        ("pictures far smaller than the others", SMALL * area < area.median(), "perhaps thumbnails"),
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
    placed = rows[rows["split"].isin(PLACES)]
    try:
        found = near_duplicates(facts.loc[placed.index, "fingerprint"], placed["patient_id"], placed["split"])
    except ValueError as error:
        yield "a perceptual hash that cannot tell", placed.index, "", f"near-duplicates were not looked for: {error}"
        return
    for apart, alike in found.items():
        one, two = (placed["image"].iloc[i] for i in alike.first)
        members = placed.index[alike.members]
        labels = "" if rows.loc[members, "label"].nunique() == 1 else " of both classes"
        what = "near-duplicates in two splits" if apart else "near-duplicates of two patients in one split"
        pairs = f"{alike.pairs:,} pair{'s look' if alike.pairs > 1 else ' looks'} alike{labels}"
        meaning = f"{pairs}; look whether they are of one woman (a cropped copy is not found)"
        yield what, members, f"{one} and {two}", meaning


def _of_shortcuts(rows: pd.DataFrame, facts: pd.DataFrame) -> Iterator[Note]:
    """Probes that see no anatomy, scored on patients they have not seen.

    The interval is over patients and takes these scores as they are; three probes are looked at, unadjusted.
    """
    us = rows[(rows["modality"] == "us") & in_cohort(rows) & (rows["split"] != "unused")]
    of = facts.loc[us.index]
    endings = us["image"].str.extract(r"\.(\w+)$")[0].fillna("")
    kinds = pd.get_dummies(of["format"] + " " + of["mode"] + " " + endings).to_numpy(float)
    folds = us.groupby("label")["patient_id"].nunique().min()
    if us["label"].nunique() < 2 or folds < 2:
        return
    splitter = StratifiedGroupKFold(min(5, folds))
    leaf = max(2, min(10, folds // 4))
    for name, features in (
        ("size", of[["width", "height"]].to_numpy(float)),
        ("border", of[["border", "black_border"]].to_numpy(float)),
        ("file type", kinds),
    ):
        if (features == features[0]).all():
            continue
        probe = DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, random_state=0)
        score = cross_val_predict(
            probe, features, us["label"], groups=us["patient_id"], cv=splitter, method="predict_proba"
        )[:, 1]
        found = auc_interval(us["label"].to_numpy(), score, us["patient_id"].to_numpy())
        if found.low > TOLD or found.auc == 1:  # an AUC of 1 has no interval
            interval = f" ({found.low:.2f} to {found.high:.2f})" if found.auc < 1 else ""
            meaning = f"told from it alone with an AUC of {found.auc:.2f}{interval}: a network may learn that"
            yield f"the class goes with the pictures' {name}", us.index, "", meaning
