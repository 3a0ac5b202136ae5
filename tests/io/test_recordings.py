# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings: every datatype comes back as it was, and every bad file gets one error that names it."""
import json

import numpy as np
import pytest
import sigmf
from alpha_rgs.errors import RecordingError
from alpha_rgs.io import recordings

RATE = 1e6
INTEGERS = {"ci8": ("i1", 0, 127), "cu8": ("u1", 127.5, 127.5), "ci16_le": ("<i2", 0, 32767), "ci16_be": (">i2", 0, 32767),
            "cu16_le": ("<u2", 32767.5, 32767), "ci32_le": ("<i4", 0, 2**31 - 128)}
FLOATS = {"cf32_le": "<c8", "cf32_be": ">c8", "cf64_le": "<c16"}


def wave(n=100):
    return (0.9 * np.exp(2j * np.pi * 0.07 * np.arange(n))).astype(np.complex64)


def encoded(datatype, x):
    """The bytes of x in that datatype, made without the code under test."""
    if datatype in FLOATS:
        return x.astype(FLOATS[datatype]).tobytes()
    dtype, zero, full = INTEGERS[datatype]
    return np.round(x.view(np.float32).astype(float) * full + zero).astype(dtype).tobytes()


def write_sigmf(folder, datatype="cf32_le", data=None, name="rec", **fields):
    info = {"core:datatype": datatype, "core:version": "1.0.0", "core:sample_rate": RATE, **fields}
    info = {key: value for key, value in info.items() if value is not None}
    meta = folder / f"{name}.sigmf-meta"
    meta.write_text(json.dumps({"global": info, "captures": [{"core:sample_start": 0, "core:frequency": 2.4e9}],
                                "annotations": []}))
    (folder / f"{name}.sigmf-data").write_bytes(encoded(datatype, wave()) if data is None else data)
    return meta


def refused(*words, path, **options):
    """load fails with one RecordingError that names the file and contains the words."""
    with pytest.raises(RecordingError) as error:
        recordings.load(path, **options)
    assert path.name.split(".")[0] in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("datatype", [*INTEGERS, *FLOATS])
def test_sigmf_of_every_datatype_is_read_with_its_scale(tmp_path, datatype):
    """A wrong scale, byte order or offset would go unnoticed until a separation fails."""
    recording = recordings.load(write_sigmf(tmp_path, datatype))
    assert recording.samples.dtype == np.complex64
    assert np.allclose(recording.samples, wave(), atol=0.02 if "8" in datatype else 1e-4)
    assert (recording.sample_rate, recording.frequency, recording.datatype) == (RATE, 2.4e9, datatype)


@pytest.mark.parametrize(("suffix", "datatype"), [("cf32", "cf32_le"), ("cfile", "cf32_le"), ("cs16", "ci16_le"), ("cs8", "ci8"),
                                                  ("cu8", "cu8")])
def test_raw_files_tell_their_datatype_by_suffix_or_option(tmp_path, suffix, datatype):
    """Users of other tools have raw files; the suffix and --datatype must mean the same."""
    for name, option in ((f"x.{suffix}", None), ("x.bin", suffix if suffix != "cfile" else "cf32"), ("y.bin", datatype)):
        (tmp_path / name).write_bytes(encoded(datatype, wave()))
        recording = recordings.load(tmp_path / name, option, RATE)
        assert np.allclose(recording.samples, wave(), atol=0.02)
        assert recording.datatype == datatype


def test_bytes_of_a_receiver_have_no_line_at_frequency_zero(tmp_path):
    """0 and 255 are as far from zero; a half step of offset is a line that a weak signal's symbols take for their own."""
    for datatype, dtype, top in (("cu8", "u1", 255), ("cu16_le", "<u2", 65535)):
        (tmp_path / datatype).write_bytes(np.array([0, 0, top, top] * 50, dtype).tobytes())
        samples = recordings.load(tmp_path / datatype, datatype, RATE).samples
        assert samples.mean() == 0 and samples[1] == -samples[0]


def test_save_and_load_keep_samples_bit_for_bit_and_metadata(tmp_path):
    """What is written must be what other SigMF software reads, checksum and annotations included."""
    note = {"core:sample_start": 3, "core:sample_count": 7, "core:label": "burst"}
    meta = recordings.save(tmp_path / "a.b", wave(), RATE, 9e8, [note], "a test", {"sir_db": -12.0})
    for name in (meta, tmp_path / "a.b", tmp_path / "a.b.sigmf-data"):
        recording = recordings.load(name)
        assert np.array_equal(recording.samples, wave())
        assert (recording.frequency, recording.annotations, recording.description) == (9e8, [note], "a test")
    other = sigmf.fromfile(str(meta))       # verifies core:sha512
    other.validate()
    assert other.get_global_info()["alpha_rgs:sir_db"] == -12.0
    assert "core:author" not in other.get_global_info()
    other.archive(str(tmp_path / "packed.sigmf"))
    assert np.array_equal(recordings.load(tmp_path / "packed.sigmf").samples, wave())


def test_a_dataset_of_another_name_with_a_header_is_read(tmp_path):
    """SigMF's non-conforming datasets (core:dataset, core:header_bytes) are legal and common."""
    meta = write_sigmf(tmp_path)
    (tmp_path / "rec.sigmf-data").rename(tmp_path / "rec.bin")
    (tmp_path / "rec.bin").write_bytes(b"HEAD" + encoded("cf32_le", wave()))
    table = json.loads(meta.read_text())
    table["global"]["core:dataset"] = "rec.bin"
    table["captures"][0]["core:header_bytes"] = 4
    meta.write_text(json.dumps(table))
    assert np.array_equal(recordings.load(meta).samples, wave())


def test_missing_empty_and_cut_raw_files_are_refused(tmp_path):
    """Bad input: missing file, empty file, a file cut mid-sample, unknown datatype, no sample rate."""
    raw = tmp_path / "x.cf32"
    refused("no such file", path=raw)
    raw.write_bytes(b"")
    refused("empty", path=raw, sample_rate=RATE)
    raw.write_bytes(encoded("cf32_le", wave()) + b"abc")
    refused("cut", "803 bytes", "8", "cf32_le", path=raw, sample_rate=RATE)
    raw.write_bytes(encoded("cf32_le", wave()))
    refused("--sample-rate", path=raw)
    refused("positive", path=raw, sample_rate=-1.0)
    refused("'cf33'", "cs16", path=raw, datatype="cf33", sample_rate=RATE)
    refused("real samples", path=raw, datatype="rf32_le", sample_rate=RATE)
    raw.rename(tmp_path / "x.bin")
    refused("--datatype", path=tmp_path / "x.bin", sample_rate=RATE)
    refused("folder", path=tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf * 1j])
def test_samples_that_are_not_finite_are_counted_and_located(tmp_path, bad):
    """One NaN would spread through a whole window: refuse it, and say where it is."""
    x = wave()
    x[[17, 40]] = bad
    refused("2 of 100", "sample 17", path=write_sigmf(tmp_path, data=x.tobytes()))


def test_bad_sigmf_is_refused_with_what_would_be_right(tmp_path):
    """Bad input: missing data file, no sample rate, malformed JSON, real-valued, several channels, metadata only."""
    meta = write_sigmf(tmp_path)
    (tmp_path / "rec.sigmf-data").unlink()
    refused("rec.sigmf-data", "no such file", path=meta)
    (tmp_path / "rec.sigmf-meta").unlink()
    refused("no such file", path=meta)
    refused("--sample-rate", "core:sample_rate", path=write_sigmf(tmp_path, **{"core:sample_rate": None}))
    assert recordings.load(meta, sample_rate=5.0).sample_rate == 5.0
    refused("positive", path=write_sigmf(tmp_path, **{"core:sample_rate": "fast"}))
    refused("real samples", path=write_sigmf(tmp_path, "rf32_le", b"1234"))
    refused("datatype", path=write_sigmf(tmp_path, **{"core:datatype": "cf31_le"}))
    refused("core:datatype", "--datatype", path=write_sigmf(tmp_path, **{"core:datatype": None}, data=b"12345678"))
    refused("2 channels", path=write_sigmf(tmp_path, **{"core:num_channels": 2}))
    refused("metadata-only", path=write_sigmf(tmp_path, **{"core:metadata_only": True}))
    refused("empty", path=write_sigmf(tmp_path, data=b""))
    refused("cut", path=write_sigmf(tmp_path, data=b"123456789"))
    refused("core:sha512", "changed", path=write_sigmf(tmp_path, **{"core:sha512": "0" * 128}))
    for text in ("{", "[]", '{"global": 3}', "{}", '{"global": {}, "captures": 5}', "\xff"):
        meta.write_text(text, encoding="latin-1")
        refused("not SigMF metadata", path=meta)
    (tmp_path / "x.sigmf").write_bytes(b"no archive")
    refused("cannot be read", path=tmp_path / "x.sigmf")
    (tmp_path / "x.sigmf-collection").write_text("{}")
    refused("collection", path=tmp_path / "x.sigmf-collection")


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_nothing_half_written_remains(tmp_path, problem, there):
    """After an exception or Ctrl-C the folder is as it was: no new file, no old file lost, no temporary file."""
    folder = tmp_path / "deep" / "out"
    if there:
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("old")
    with pytest.raises(problem), recordings.all_or_nothing(folder, ["a.txt", "b.txt"], overwrite=True) as new:
        (new / "a.txt").write_text("half")
        raise problem
    assert [p.name for p in tmp_path.rglob("*")] == (["deep", "out", "a.txt"] if there else [])
    assert not there or (folder / "a.txt").read_text() == "old"


def test_a_failing_move_puts_old_files_back(tmp_path, monkeypatch):
    """Replacing several files is undone when one of them cannot be replaced."""
    for name in "abc":
        (tmp_path / name).write_text("old")
    real = recordings.os.replace

    def failing(source, target):
        if source.name == "b" and source.parent.name == "new":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(recordings.os, "replace", failing)
    with pytest.raises(RecordingError, match="No space left"), recordings.all_or_nothing(tmp_path, "abc", True) as new:
        for name in "abc":
            (new / name).write_text("new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys("abc", "old")


def test_existing_files_are_kept_unless_overwriting(tmp_path):
    """Results are not replaced by accident; files of other names in the folder never are."""
    recordings.save(tmp_path / "x", wave(), RATE)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RecordingError, match="x.sigmf-meta: exists already"):
        recordings.save(tmp_path / "x", wave(3), RATE, overwrite=False)
    assert len(recordings.load(tmp_path / "x").samples) == 100
    recordings.save(tmp_path / "x", wave(3), RATE)
    assert len(recordings.load(tmp_path / "x").samples) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "x.sigmf-data", "x.sigmf-meta"]
    with pytest.raises(RecordingError, match="is a file"):
        recordings.save(tmp_path / "mine" / "x", wave(), RATE)
