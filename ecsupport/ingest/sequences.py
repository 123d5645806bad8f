"""Which MRI sequence a file holds, from its tags, in the names of the manifest; what is unknown a person maps."""

import re

from pydicom.dataset import Dataset

IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")  # MR, enhanced
WORDS = (  # the first that is found in the description counts; what is before it says more
    ("adc", r"\badc\b|apparent.diff"),
    ("dwi", r"\bdwi\b|diff|\btrace\b|\bb ?\d{2,4}\b"),
    ("dce_arterial", r"(dce|dyn|vibe|lava|thrive).*arter|arter.*(dce|dyn|vibe|lava|thrive)"),
    ("dce_venous", r"(dce|dyn|vibe|lava|thrive).*ven|(ven|portal).*(dce|dyn|vibe|lava|thrive)"),
    ("dce_delayed", r"(dce|dyn|vibe|lava|thrive).*(delay|late)|(delay|late).*(dce|dyn|vibe|lava|thrive)"),
    ("t1_fs_ce", r"\bt1.*(fs|fatsat|spair|spir|dixon).*(\+ ?c|\bce\b|gd|post|contrast)"
                 r"|\bt1.*(\+ ?c|\bce\b|gd|post|contrast).*(fs|fatsat|spair|spir|dixon)"),
    ("t2", r"\bt2"),
    ("t1", r"\bt1(?!.*(\+ ?c|\bce\b|gd|post|contrast))"),
)  # fmt: skip
SCOUT = r"locali[sz]|scout|survey|calib|\bloc\b"
T1_ECHO, T2_ECHO, T1_REPETITION, T2_REPETITION = 30, 60, 1200, 1800  # ms


def description(header: Dataset) -> str:
    """The words by which a person maps a sequence: of the series, else of the protocol or the sequence."""
    for name in ("SeriesDescription", "ProtocolName", "SequenceName"):
        if text := str(header.get(name) or "").strip():
            return text
    return ""


def recognised(header: Dataset) -> str:
    """One of `mri.SEQUENCES`, or empty where words and physics tell nothing, or contradict each other."""
    text = " ".join(re.sub(r"[_/\\-]+", " ", description(header).casefold()).split())
    if re.search(SCOUT, text):
        return ""
    told = next((name for name, words in WORDS if re.search(words, text)), "")
    weighting = _weighting(header)
    if told in ("t1", "t2") and weighting and weighting != told:
        return ""
    return told or weighting


def _weighting(header: Dataset) -> str:
    """T1 or T2 of a spin echo by its times; other kinds of sequence are not told apart by them."""
    kinds = header.get("ScanningSequence")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds or ())
    echo, repetition = header.get("EchoTime"), header.get("RepetitionTime")
    if kinds != {"SE"} or echo is None or repetition is None or header.get("ContrastBolusAgent"):
        return ""
    if echo >= T2_ECHO and repetition >= T2_REPETITION:
        return "t2"
    return "t1" if echo <= T1_ECHO and repetition <= T1_REPETITION else ""
