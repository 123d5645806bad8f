"""Whether translation keeps anatomy and invasion: the measures, and the segmenter's acceptance (claims on Figure 1).

An MRI phantom's anatomy is known, so what the segmenter finds in its translation can be held against it. Two scales
make the number mean something: real ultrasound read in the same way (the ceiling), and translations held against the
anatomy of other patients (the floor). Arrays in, arrays and frames out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage
from sklearn.metrics import roc_auc_score, roc_curve

from ecsupport.cohort.anatomy import VISIBLE_DEPTH
from ecsupport.cohort.phantom import MM
from ecsupport.cohort.structures import STRUCTURES, Reading
from ecsupport.evaluation.probes import dice, mean_over_patients

REVISION = 1  # measures, acceptance, thresholds
SCORED = ("junctional_zone", "endometrium")  # the structures whose Dice the claim is about
SHIFTS = (1, 2, 4)  # of the acceptance, in 1/64 of the image's side
LEAST_GAIN = 0.3  # of Dice over that with another patient's anatomy
LEAST_AUC = {"no invasion": 0.9, "a tumour that does not invade": 0.8}  # of the judge
FEWEST = 20  # views of a kind against which the judge is tested
DEPTHS = ("none", "below 0.25: not shown", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1")  # of the wall, in a view
EDGES = (np.nextafter(0, 1), VISIBLE_DEPTH, 0.5, 0.75)  # where each but the first begins


@dataclass(frozen=True)
class Acceptance:
    """Whether a segmenter is accepted, why not, and what was measured: columns measure, condition, value."""

    accepted: bool
    reasons: tuple[str, ...]
    measured: pd.DataFrame


def mask(labels: np.ndarray, structure: str) -> np.ndarray:
    """Where labels (N, S, S), indices into `STRUCTURES`, are that structure: (N, S, S) bool."""
    return labels == list(STRUCTURES).index(structure)


def compare(found: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """What is found held against the truth, one row an image. found, true: (N, S, S) uint8, index into `STRUCTURES`.

    | column | meaning |
    |---|---|
    | dice_junctional_zone, dice_endometrium | Dice, 0 to 1; 0 where it is not found, NaN where the truth has none |
    | dice | mean of the two; NaN where either is |
    | boundary_mm | `boundary_distance` of the junctional zone |
    | shown, found | whether the truth has a junctional zone, and whether one is found |

    ValueError for arrays of different shapes.
    """
    if found.shape != true.shape:
        raise ValueError(f"structures of shape {found.shape} and {true.shape}; expected the same images")
    table = {}
    for structure in SCORED:
        wanted = mask(true, structure)
        table[f"dice_{structure}"] = np.where(wanted.any((1, 2)), dice(mask(found, structure), wanted), np.nan)
    table["dice"] = np.mean(list(table.values()), axis=0)
    zones = [mask(labels, "junctional_zone") for labels in (found, true)]
    table["boundary_mm"] = boundary_distance(*zones)
    table["shown"], table["found"] = zones[1].any((1, 2)), zones[0].any((1, 2))
    return pd.DataFrame(table)


def boundary_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean symmetric distance of two masks' boundaries, in mm of the phantoms. (N, S, S) bool to (N,).

    The mean, over the boundary pixels of both, of the distance to the nearest boundary pixel of the other; a boundary
    pixel has a neighbour, beside, above or below, outside the mask. NaN where either mask is empty or fills the image.
    """
    pixel = 2 * MM / found.shape[-1]
    cross = ndimage.generate_binary_structure(2, 1)
    distances = np.full(len(found), np.nan)
    for i, pair in enumerate(zip(found, true, strict=True)):
        edges = [one & ~ndimage.binary_erosion(one, cross, border_value=1) for one in pair]
        if not all(edge.any() for edge in edges):
            continue
        away = [ndimage.distance_transform_edt(~edge) for edge in edges]
        distances[i] = pixel * np.concatenate([away[1][edges[0]], away[0][edges[1]]]).mean()
    return distances


def exchanged(patient_id: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """For every image the row of one of another patient, each row once: the floor's pairs. patient_id: (N,) to (N,).

    The images, in a random order of patients, move on by as many places as one patient has images at the most.
    ValueError where one patient has more than half of the images: no such exchange exists.
    """
    _, who, count = np.unique(np.asarray(patient_id), return_inverse=True, return_counts=True)
    if 2 * count.max() > len(who):
        raise ValueError(f"one patient has {count.max()} of {len(who)} images; expected at most half")
    order = rng.permutation(len(who))
    order = order[np.argsort(rng.permutation(len(count))[who[order]], kind="stable")]
    rows = np.empty_like(order)
    rows[order] = np.roll(order, -count.max())
    return rows


def threshold(invasion: ArrayLike, visible: ArrayLike) -> float:
    """The probability from which a view is judged invading: where sensitivity + specificity is highest (Youden).

    invasion: (N,) probabilities;  visible: (N,) whether the view shows invasion. Choose it on real ultrasound of
    training patients, never on what is measured, and on all of them: carcinomas alone have so few views without
    invasion that the cut wanders. ValueError where one class is missing.
    """
    visible = np.asarray(visible, bool)
    if visible.all() or not visible.any():
        raise ValueError(f"{visible.sum()} of {len(visible)} views show invasion; expected some and not all")
    false, true, cuts = roc_curve(visible, invasion)
    return float(cuts[1:][np.argmax((true - false)[1:])])  # the first cut is infinite: nothing is judged invading


def status_kept(judged: ArrayLike, visible_depth: ArrayLike) -> np.ndarray:
    """Whether each view is judged as it is, (N,) bool: invading from `VISIBLE_DEPTH` of the wall.

    judged: (N,) bool, of the translation;  visible_depth: (N,), of its MRI.
    """
    return np.asarray(judged, bool) == (np.asarray(visible_depth) >= VISIBLE_DEPTH)


def kept_by_depth(
    judged: ArrayLike, visible_depth: ArrayLike, patient_id: ArrayLike, rng: np.random.Generator
) -> pd.DataFrame:
    """Survival of the invasion label by depth: columns depth, images, patients, kept, low, high; a row for `DEPTHS`.

    kept: share of images whose status is kept, with its 95 % interval, averaged by patient and patients resampled
    The first two rows are views that show no invasion: kept is the share judged not invading. NaN without images.
    """
    depth, who = np.asarray(visible_depth, float), np.asarray(patient_id)
    kept, place, rows = status_kept(judged, depth), np.digitize(depth, EDGES), []
    for number, name in enumerate(DEPTHS):
        of = place == number
        value, low, high, patients = mean_over_patients(kept[of], who[of], rng) if of.any() else (*[np.nan] * 3, 0)
        rows.append((name, int(of.sum()), patients, value, low, high))
    return pd.DataFrame(rows, columns=["depth", "images", "patients", "kept", "low", "high"])


def accept(
    read: Callable[[np.ndarray], Reading],
    images: np.ndarray,
    labels: np.ndarray,
    visible_depth: np.ndarray,
    patient_id: ArrayLike,
    rng: np.random.Generator,
) -> Acceptance:
    """Test a segmenter and judge on real ultrasound of patients that it has not seen, before it reads a translation.

    read: images (N, S, S) uint8 to a `Reading`;  labels: (N, S, S) uint8 and visible_depth: (N,), what is known
    Accepted where (1) the mean Dice of each of `SCORED` exceeds that with another patient's anatomy by `LEAST_GAIN`;
    (2) with every step by which the image moves and the truth does not, the junctional zone's mean Dice falls and its
    mean boundary distance rises; (3) the judge's AUC of views that show invasion is at least `LEAST_AUC` against views
    that cut none, and against those of them with a tumour, so that it does not only tell tumours. The last is left out
    (NaN) where there are fewer than `FEWEST` such views. `reasons` names each failure. Take some hundred images, of
    carcinomas and others. Raises ValueError as `exchanged` does.
    """
    rows, reasons, reading = [], [], read(images)
    visible, none = visible_depth >= VISIBLE_DEPTH, visible_depth == 0
    against = {"no invasion": none, "a tumour that does not invade": none & mask(labels, "tumour").any((1, 2))}
    for kind, others in against.items():
        auc, few = np.nan, min(visible.sum(), others.sum()) < FEWEST
        if not few:
            auc = float(roc_auc_score(visible[visible | others], reading.invasion[visible | others]))
        rows.append(("auc", f"invasion against {kind}", auc))
        if few and kind == "no invasion":
            reasons.append(f"invasion: {visible.sum()} views show it and {others.sum()} none; it takes {FEWEST} each")
        elif auc < LEAST_AUC[kind]:
            reasons.append(f"invasion: AUC against {kind} {auc:.3f} is below {LEAST_AUC[kind]}")
    matched, other = (compare(reading.structures, true) for true in (labels, labels[exchanged(patient_id, rng)]))
    for structure in SCORED:
        own, floor = (table[f"dice_{structure}"].mean() for table in (matched, other))
        rows += [(f"dice_{structure}", "own anatomy", own), (f"dice_{structure}", "another patient's", floor)]
        if not own >= floor + LEAST_GAIN:
            reasons.append(f"{structure}: Dice {own:.3f} is not {LEAST_GAIN} above that of other patients, {floor:.3f}")
    along = [matched, *(compare(read(moved(images, step, rng)).structures, labels) for step in SHIFTS)]
    for measure, sign, word in (("dice_junctional_zone", -1, "fall"), ("boundary_mm", 1, "rise")):
        values = [table[measure].mean() for table in along]
        rows += [(measure, f"moved by {step}/64", value) for step, value in zip((0, *SHIFTS), values, strict=True)]
        if not (sign * np.diff(values) > 0).all():
            listed = ", ".join(f"{value:.3g}" for value in values)
            reasons.append(f"{measure}: {listed} do not {word} as the image moves")
    return Acceptance(not reasons, tuple(reasons), pd.DataFrame(rows, columns=["measure", "condition", "value"]))


def moved(images: np.ndarray, step: float, rng: np.random.Generator) -> np.ndarray:
    """Images (N, S, S) moved by `step` 64ths of their side, each right, left, up or down at random; borders repeat."""
    far = round(step * images.shape[1] / 64)
    padded = np.pad(images, ((0, 0), (far, far), (far, far)), mode="edge")
    side, towards = images.shape[1], rng.integers(4, size=len(images))
    begins = far + far * np.array([(0, -1), (0, 1), (1, 0), (-1, 0)])  # row and column at which the window begins
    return np.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(padded, begins[towards], strict=True)])
