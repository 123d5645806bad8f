"""DICOM pixels come out as a viewer shows them, or are refused by name; tissue, colour and cines are told apart."""

import shutil
from pathlib import Path

import dicom_files as make
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import pixels, uid

from ecsupport.cohort import mri
from ecsupport.ingest import cine, dicom, grey, sequences, ultrasound
from ecsupport.ingest.outcome import LeftOut

THEIRS = Path(pydicom.__file__).parent / "data" / "test_files"


def colours(height=64, width=64):
    """Blocks of grey and colour, 8 pixels wide, so that subsampling loses nothing inside a pair."""
    rng = np.random.default_rng(3)
    return np.kron(rng.integers(0, 256, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def read(file, indices=(0,)):
    return list(dicom.values(file, dicom.read(file), list(indices)))


# --- colour models and transfer syntaxes ------------------------------------------------------------------------------

LOSSLESS = (*make.NATIVE, uid.RLELossless, uid.JPEG2000Lossless)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda s: s.name)
@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_comes_out_as_it_went_in(tmp_path, syntax, planar):
    rgb = np.stack([colours(), 255 - colours()])
    file = make.save(make.dataset(rgb, "RGB", planar=planar), tmp_path / "f", syntax)
    assert (np.stack(read(file, (0, 1))) == rgb).all()
    assert (read(file, (1,))[0] == rgb[1]).all()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless])
@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full_becomes_rgb(tmp_path, syntax, planar):
    ybr = pixels.convert_color_space(colours(), "RGB", "YBR_FULL")
    (found,) = read(make.save(make.dataset(ybr, "YBR_FULL", planar=planar), tmp_path / "f", syntax))
    assert np.abs(found.astype(int) - colours()).max() <= 2


def test_native_422_becomes_rgb_and_refuses_other_lengths(tmp_path):
    ds = make.dataset(colours(), "YBR_FULL_422")
    ds.PixelData = make.subsampled(colours())
    (found,) = read(make.save(ds, tmp_path / "f"))
    assert np.abs(found.astype(int) - colours()).max() <= 3
    whole = make.save(make.dataset(colours(), "YBR_FULL_422"), tmp_path / "g")
    with pytest.raises(LeftOut, match=r"needs 8,192 bytes.*has 12,288 \(as many as colours without subsampling"):
        read(whole)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_jpeg_colours_are_those_of_the_codestream(tmp_path, subsampling, photometric):
    rgb = colours(64, 64)[None]
    (found,) = read(make.jpeg(rgb, photometric, tmp_path / "f", subsampling=subsampling))
    assert np.abs(found.astype(int) - rgb[0]).mean() < (2 if subsampling == 0 else 12)


def test_jpeg_that_contradicts_its_header_is_refused(tmp_path):
    rgb = colours(64, 64)[None]
    with pytest.raises(LeftOut, match="header says RGB, the JPEG codestream YBR"):
        read(make.jpeg(rgb, "RGB", tmp_path / "jfif"))
    with pytest.raises(LeftOut, match="header says YBR_FULL_422, the JPEG codestream RGB"):
        read(make.jpeg(rgb, "YBR_FULL_422", tmp_path / "adobe", marker=0))
    (found,) = read(make.jpeg(rgb, "YBR_FULL_422", tmp_path / "converted", marker=1))
    assert np.abs(found.astype(int) - rgb[0]).mean() < 2  # converted once, not twice


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_are_applied_in_every_frame(tmp_path, bits):
    rng = np.random.default_rng(0)
    index = rng.integers(0, 256, (2, 24, 32)).astype(np.uint8)
    table = rng.integers(0, 256, (3, 256))
    tags = {}
    for colour, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        raw = entries.astype(np.uint8) if bits == 8 else (entries * 257).astype("<u2")
        tags[f"{colour}PaletteColorLookupTableData"] = raw.tobytes()
    file = make.save(make.dataset(index, "PALETTE COLOR", **tags), tmp_path / "f")
    assert (np.stack(read(file, (0, 1))) == np.moveaxis(table[:, index], 0, -1)).all()


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_grey_values_survive_every_syntax(tmp_path, syntax, dtype):
    values = np.random.default_rng(1).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (64, 66)).astype(dtype)
    ds = make.dataset(values, signed=dtype == np.int16)
    assert (read(make.save(ds, tmp_path / "f", syntax))[0] == values).all()


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("MR_small_jpeg_ls_lossless", "MR_small"), ("MR_small_jp2klossless", "MR_small"), ("MR_small_RLE", "MR_small"),
        ("MR_small_bigendian", "MR_small"), ("MR_small_implicit", "MR_small"),
        ("SC_rgb_jpeg_gdcm", "SC_rgb_rle"),  # JPEG lossless
    ],
)  # fmt: skip
def test_pydicoms_files_agree_over_compressions(name, same):
    assert (read(THEIRS / f"{name}.dcm")[0] == read(THEIRS / f"{same}.dcm")[0]).all()


STRIPES = [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255), (128, 128, 255), (0, 0, 0),
           (64, 64, 64), (192, 192, 192), (255, 255, 255)]  # fmt: skip


@pytest.mark.parametrize("name", ["rgb_dcmtk_+eb+cr", "rgb_dcmtk_+eb+cy+n1", "rgb_dcmtk_+eb+cy+np", "rgb_jpeg_dcmtk",
                                  "rgb_jpeg_lossy_gdcm", "ybr_full_422_uncompressed", "rgb_jls_lossy_line",
                                  "rgb_jls_lossy_sample", "rgb_gdcm_KY", "rgb_rle_16bit"])  # fmt: skip
def test_pydicoms_stripes_have_the_colours_that_a_viewer_shows(name):
    (found,) = read(THEIRS / f"SC_{name}.dcm")
    assert np.abs(found[5::10, 50].astype(int) - STRIPES).max() <= 6


# --- contradictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation that is missing"),
        ({"PhotometricInterpretation": "RGB"}, "RGB with another number of samples"),
        ({"PhotometricInterpretation": "YBR_RCT", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "without JPEG 2000"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "neither 8 nor 16 bits"),
        ({"BitsStored": 12}, "contradict each other"),
        ({"HighBit": 3}, "contradict each other"),
        ({"PixelRepresentation": 2}, "pixel representation"),
        ({"Rows": 65}, "needs 4,160 bytes of pixel data, the file has 4,096"),
        ({"Rows": 63}, "needs 4,032 bytes of pixel data, the file has 4,096"),
        ({"NumberOfFrames": 2}, "needs 8,192 bytes"),
        ({"NumberOfFrames": -4}, "number of frames"),
        ({"Rows": 60000, "Columns": 60000}, "60,000 x 60,000 pixels, more than"),
        ({"Rows": 0}, "no image"),
        ({"RedPaletteColorLookupTableDescriptor": [16, 240, 8]}, "a palette laid over"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "planar configuration"),
    ],
)
def test_a_contradiction_is_refused_by_name(tmp_path, tags, words):
    ds = make.set_tags(make.dataset(colours()[..., 0]), tags)
    with pytest.raises(LeftOut, match=words):
        read(make.save(ds, tmp_path / "f"))


def test_a_file_cut_short_or_stored_in_another_way_is_refused(tmp_path):
    file = make.save(make.dataset(colours(), "RGB"), tmp_path / "f")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LeftOut, match="cut short: 12,288 bytes of pixel data are announced, 12,188"):
        read(file)
    ds = make.dataset(colours(), "RGB")
    raw = make.save(ds, tmp_path / "g", uid.ExplicitVRLittleEndian).read_bytes()
    longer = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"  # RLE, in as many letters
    (tmp_path / "g").write_bytes(raw.replace(*longer))
    with pytest.raises(LeftOut, match="contradict each other"):
        read(tmp_path / "g")


# --- from values to grey levels ---------------------------------------------------------------------------------------


def shown(ds, index=0, limits=None):
    values = np.asarray(ds.pixel_array)
    frame = grey.of_frame(ds, index)
    return grey.shown(grey.rescaled(values[index] if values.ndim == 3 else values, frame), frame, ds, limits)


@settings(max_examples=30)
@given(st.integers(-300, 1500), st.integers(2, 3000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
       st.sampled_from([(1, 0), (2, -1024), (0.5, 100)]))  # fmt: skip
def test_windows_agree_with_pydicom_after_the_rescale(centre, width, function, rescale):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # (4096,) -> (64, 64)
    ds = make.dataset(values, stored=12, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function,
                      RescaleSlope=rescale[0], RescaleIntercept=rescale[1])  # fmt: skip
    theirs = pixels.apply_voi_lut(pixels.apply_modality_lut(values, ds), ds)
    low, high = rescale[1], rescale[1] + 4095 * rescale[0]
    assert np.abs(shown(ds) - (theirs - low) / (high - low) * 255).max() <= 0.51


def test_monochrome1_is_inverted_last():
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # (4096,) -> (64, 64)
    tags = {"stored": 12, "WindowCenter": 300, "WindowWidth": 200}
    bright, dark = (shown(make.dataset(values, p, **tags)) for p in ("MONOCHROME2", "MONOCHROME1"))
    assert (dark == 255 - bright).all() and bright[0, 0] == 0 and dark[0, 0] == 255
    with pytest.raises(LeftOut, match="presentation LUT"):
        shown(make.dataset(values, stored=12, PresentationLUTShape="INVERSE"))


def test_a_voi_table_follows_a_modality_table():
    """Both tables by hand: 4,096 entries of 8 bits are more than an 8-bit index can reach."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # (4096,) -> (64, 64)
    modality, voi = (4095 - np.arange(4096)).astype("<u2"), (np.arange(4096) // 16).astype("<u2")
    item = {"LUTDescriptor": [4096, 0, 12], "LUTData": modality.tobytes(), "ModalityLUTType": "US"}
    ds = make.dataset(values, stored=12, ModalityLUTSequence=[item],
                      VOILUTSequence=[{"LUTDescriptor": [4096, 0, 8], "LUTData": voi.tobytes()}])  # fmt: skip
    assert (shown(ds) == voi[modality[values]]).all()
    ds.VOILUTSequence[0].LUTData = voi.tobytes()[:-2]
    with pytest.raises(LeftOut, match="lookup table of another length"):
        shown(ds)


def test_each_frame_of_an_enhanced_image_has_its_own_rescale_and_window():
    values = np.full((2, 8, 8), 100, np.uint16)
    own = [{"PixelValueTransformationSequence": [{"RescaleSlope": slope, "RescaleIntercept": 0}]} for slope in (1, 2)]
    shared = [{"FrameVOILUTSequence": [{"WindowCenter": 128.5, "WindowWidth": 256}]}]
    ds = make.dataset(values, stored=12, PerFrameFunctionalGroupsSequence=own, SharedFunctionalGroupsSequence=shared)
    assert {int(level) for level in np.unique(shown(ds, 0))} == {100}
    assert {int(level) for level in np.unique(shown(ds, 1))} == {200}


def test_without_a_window_limits_are_percentiles_of_the_series():
    rng = np.random.default_rng(0)
    slices = rng.gamma(2, 200, (20, 64, 64))
    low, high = grey.series_window([grey.sketch(one) for one in slices])
    assert np.allclose([low, high], np.percentile(slices, grey.PERCENTILES), rtol=0.05)
    values = np.array([[0, low], [(low + high) / 2, high * 2]])
    ds = make.dataset(values.astype(np.uint16), stored=12)
    assert shown(ds, limits=(low, high)).ravel()[[0, 3]].tolist() == [0, 255]
    assert not grey.has_window(grey.of_frame(ds, 0))
    assert shown(make.dataset(np.array([[0, 255]], np.uint8))).tolist() == [[0, 255]]  # ultrasound: all levels


# --- ultrasound -------------------------------------------------------------------------------------------------------


def test_only_the_one_region_of_2d_tissue_is_kept():
    frame = np.zeros((100, 200), np.uint8)
    tissue, flow = make.regions((10, 20, 109, 79)), make.regions((120, 20, 180, 79), kind=2)
    ds = make.dataset(frame, SequenceOfUltrasoundRegions=tissue + flow)
    assert ultrasound.tissue_region(ds) == (10, 20, 110, 80)
    assert ultrasound.tissue_region(make.dataset(frame)) is None
    for found, words in (
        (flow, "no region of 2D tissue"),
        (tissue + make.regions((0, 0, 50, 50)), "several regions"),
        (make.regions((10, 20, 300, 79)), "leaves the frame"),
        (make.regions((10, 20, 5, 79)), "leaves the frame"),
    ):
        with pytest.raises(LeftOut, match=words):
            ultrasound.tissue_region(make.dataset(frame, SequenceOfUltrasoundRegions=found))


@pytest.mark.parametrize("shape", [(240, 320), (600, 800), (768, 1024)])
def test_a_fan_is_found_and_the_name_beside_it_goes(shape):
    frame, box = make.fan(*shape, seed=shape[0])
    (left, top, right, bottom), mask = ultrasound.fan(make.with_name(frame))
    step = max(shape) // ultrasound.WORK + 1
    assert np.abs(np.subtract((left, top, right, bottom), box)).max() <= 6 * step
    kept = np.where(mask, make.with_name(frame)[top:bottom, left:right], 0)
    assert (kept[: 16 - top, : 60 - left] == 0).all() if top < 16 and left < 60 else True
    whole = np.zeros(shape, np.uint8)
    whole[top:bottom, left:right] = kept
    assert (whole[:16, : shape[1] // 4] == 0).all()  # where the name was
    assert (whole > 0).sum() > 0.93 * (frame > 0).sum()


def test_a_bar_above_the_fan_goes_with_the_name_in_it():
    frame, (left, top, right, bottom) = make.fan(300, 400)
    barred = frame.copy()
    barred[: top - 2] = 90
    found, _ = ultrasound.fan(make.with_name(barred))
    assert np.abs(np.subtract(found, (left, top, right, bottom))).max() <= 12


def test_where_no_fan_is_a_person_is_asked():
    with pytest.raises(LeftOut, match="no fan was found"):
        ultrasound.fan(make.with_name(np.zeros((240, 320), np.uint8)))


def test_doppler_is_colour_that_departs_from_the_tint():
    frame, _ = make.fan()
    plain = np.repeat(frame[..., None], 3, axis=2)
    tinted = (plain * [1.0, 0.85, 0.65]).astype(np.uint8)
    doppler = plain.copy()
    doppler[120:140, 140:165] = [220, 40, 20]
    noisy = np.clip(plain + np.random.default_rng(0).integers(-8, 9, plain.shape), 0, 255).astype(np.uint8)
    assert [ultrasound.has_colour(one) for one in (plain, tinted, noisy, doppler)] == [False, False, False, True]
    blue = tinted.copy()
    blue[120:140, 140:165] = [20, 60, 230]
    assert ultrasound.has_colour(blue)


# --- cines and sequences ----------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 40))
def test_frames_are_spread_evenly_from_the_first_to_the_last(frames, most):
    found = cine.sample(frames, most=most)
    assert found == sorted(set(found)) and found[0] >= 0 and found[-1] < frames and len(found) == min(frames, most)
    if len(found) > 1:
        assert (found[0], found[-1]) == (0, frames - 1) and np.ptp(np.diff(found)) <= 1
    assert cine.sample(frames, every=most) == list(range(0, frames, most))


def test_frames_that_hardly_move_are_near_duplicates():
    frame, _ = make.fan(seed=1)
    other, _ = make.fan(seed=2)
    noise = np.random.default_rng(0).integers(-3, 4, frame.shape)
    distinct = cine.Distinct()
    found = [frame, np.clip(frame + noise, 0, 255).astype(np.uint8), other, frame]
    assert [distinct.is_new(one) for one in found] == [True, False, True, False]


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"SeriesDescription": "t2_tse_sag_p2"}, "t2"),
        ({"SeriesDescription": "T1 TSE AX"}, "t1"),
        ({"SeriesDescription": "ep2d_diff_b1000"}, "dwi"),
        ({"SeriesDescription": "ep2d_diff_b50_400_800_ADC"}, "adc"),
        ({"SeriesDescription": "LAVA arterial"}, "dce_arterial"),
        ({"SeriesDescription": "vibe_fs_tra_venous"}, "dce_venous"),
        ({"SeriesDescription": "THRIVE delayed"}, "dce_delayed"),
        ({"SeriesDescription": "t1_vibe_fs post contrast"}, "t1_fs_ce"),
        ({"SeriesDescription": "T1 post contrast"}, ""),
        ({"SeriesDescription": "Localizer T2"}, ""),
        ({"SeriesDescription": "pelvis 3"}, ""),
        ({"SeriesDescription": "t1 tse", "ScanningSequence": "SE", "EchoTime": 100, "RepetitionTime": 4000}, ""),
        ({"ScanningSequence": "SE", "EchoTime": 100, "RepetitionTime": 4000}, "t2"),
        ({"ScanningSequence": "SE", "EchoTime": 12, "RepetitionTime": 600}, "t1"),
        ({"ScanningSequence": ["EP", "SE"], "EchoTime": 100, "RepetitionTime": 4000}, ""),
    ],
)
def test_sequences_are_recognised_and_never_guessed(tags, name):
    assert sequences.recognised(make.dataset(np.zeros((8, 8), np.uint8), **tags)) == name
    assert {known for known, _ in sequences.WORDS} == set(mri.SEQUENCES)


def test_a_bomb_of_deflated_bytes_is_not_inflated(tmp_path, monkeypatch):
    file = make.save(make.dataset(np.zeros((800, 800), np.uint8)), tmp_path / "f", uid.DeflatedExplicitVRLittleEndian)
    shutil.copy(file, tmp_path / "g")
    assert read(tmp_path / "g")[0].shape == (800, 800)
    monkeypatch.setattr(dicom, "INFLATED", 100_000)
    with pytest.raises(LeftOut, match="grow beyond"):
        dicom.read(tmp_path / "g")
