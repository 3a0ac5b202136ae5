# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings in and out: SigMF (by the sigmf package) and raw files of interleaved I and Q.

Every RecordingError names the file and says what would be right.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(f"{folder}/tone", np.exp(0.5j * np.arange(1000)), 48e3, frequency=433.92e6)
    ...     recording = load(path)
    >>> recording.samples.dtype, len(recording.samples), recording.sample_rate, recording.frequency
    (dtype('complex64'), 1000, 48000.0, 433920000.0)
"""
import math
import os
import pathlib
import re
import tarfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sigmf

from ..errors import RecordingError
from ..parsing import shown
from . import sigmf_metadata
from .outputs import all_or_nothing

RAW = {"cf32": "cf32_le", "cfile": "cf32_le", "cf64": "cf64_le", "cs16": "ci16_le", "cs32": "ci32_le", "cs8": "ci8", "cu8": "cu8",
       "cu16": "cu16_le"}
_SIGMF_TYPE = re.compile(r"[cr](f32|f64|[iu](32|16|8))(_le|_be)?")
_EXTENSION = {"name": "alpha_rgs", "version": "0.1.0", "optional": True}       # the version is the SigMF extension's own
_META, _DATA, _ARCHIVE = ".sigmf-meta", ".sigmf-data", ".sigmf"
# zero of unsigned integers lies half-way between the middle two (127.5 of an RTL-SDR's bytes); sigmf takes the upper one, which
# leaves a line at frequency zero
_HALF_STEP = {"cu8": np.complex64((1 + 1j) / 2**8), "cu16": np.complex64((1 + 1j) / 2**16)}


@dataclass
class Recording:
    """samples: complex64 [n], integers scaled to ±1, zero of unsigned ones half-way between the middle two.
    sample_rate: Hz. frequency: Hz at 0 of the band, or None.

    datatype: as SigMF names it, of the file. path: what was read. annotations: SigMF's, a list of dicts.
    """

    samples: npt.NDArray[np.complex64]
    sample_rate: float
    frequency: float | None = None
    datatype: str = "cf32_le"
    path: str = ""
    annotations: list[dict[str, Any]] = field(default_factory=list)
    description: str = ""


def load(path: str | os.PathLike[str], datatype: str | None = None, sample_rate: float | None = None,
         flawed: bool = False) -> Recording:
    """Read a whole recording into memory: a Recording with samples complex64 [n].

    path: .sigmf-meta, .sigmf-data, their common stem, a .sigmf archive, or a raw file. datatype: one of RAW or a SigMF name
    such as ci16_le; default: what the SigMF metadata or the raw file's suffix says. sample_rate: Hz, likewise. flawed:
    whether up to half of the samples may be NaN or infinite.
    Raises RecordingError: missing or empty file, malformed metadata, no sample rate, real-valued or multi-channel samples, a
    file cut in the middle of a sample, data that differ from their checksum, NaN or infinite samples.
    """
    path = pathlib.Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # sigmf warns of what is refused here, or need not concern the user
            handle, path, datatype, rate = _open(path, datatype, sample_rate)
            samples = np.ascontiguousarray(handle.read_samples(), dtype=np.complex64)
            samples += _HALF_STEP.get(datatype.split("_")[0], 0)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from None
    finite = np.isfinite(samples)
    if not finite.all() and not (flawed and 2 * finite.sum() >= len(finite)):
        raise RecordingError(f"{path}: {len(samples) - finite.sum()} of {len(samples)} samples are NaN or infinite, the first is "
                             f"sample {finite.argmin()}; cut them out or record again (a wrong datatype, here {datatype}, looks "
                             "like this too)")
    captures = handle.get_captures()
    frequency = captures[0].get("core:frequency") if captures else None
    return Recording(samples, rate, frequency, datatype, str(path), list(handle.get_annotations()),
                     handle.get_global_info().get("core:description", ""))


def windows_of_recording(path: str | os.PathLike[str], window: int, hop: int, first: int = 0, resample: str | None = None,
                         carrier_offset: float = 0.0, datatype: str | None = None,
                         sample_rate: float | None = None) -> npt.NDArray[np.complex64]:
    """Windows of a recording, complex64 [n, window], each of unit mean power.

    hop: samples from one window's begin to the next's; first: begin of the first window. resample: "P/Q" or None;
    carrier_offset: cycles per (new) sample, removed; both are done first. datatype, sample_rate: see load. Windows of less than
    a tenth of the median power are left out. Raises RecordingError.
    """
    from scipy.signal import resample_poly

    x: npt.NDArray[np.complex128] = load(path, datatype, sample_rate).samples.astype(np.complex128)
    if resample:
        try:
            up, down = (int(part) for part in resample.split("/"))
            x = resample_poly(x, up, down)
        except ValueError:
            raise RecordingError(f"--resample: {resample!r} must be P/Q, two whole numbers, such as 3/2") from None
    x = x * np.exp(-2j * np.pi * carrier_offset * np.arange(len(x)))
    starts = range(first, len(x) - window + 1, hop)
    if not starts:
        raise RecordingError(f"{path}: {len(x)} samples hold no window of {window} from sample {first} on")
    cut = np.stack([x[i:i + window] for i in starts])
    power = np.mean(abs(cut) ** 2, 1, keepdims=True)
    keep = power[:, 0] >= 0.1 * np.median(power)
    return (cut / np.sqrt(np.maximum(power, 1e-30)))[keep].astype(np.complex64)


def common_rate(loaded: Sequence[Recording]) -> float:
    """The sample rate of Recordings, Hz. Raises RecordingError naming the one that differs from the first."""
    for other in loaded[1:]:
        if abs(other.sample_rate / loaded[0].sample_rate - 1) > 1e-6:
            raise RecordingError(f"{other.path}: sample rate {other.sample_rate:.9g} Hz differs from that of {loaded[0].path}, "
                                 f"{loaded[0].sample_rate:.9g} Hz; resample one of them")
    return loaded[0].sample_rate


def save(stem: str | os.PathLike[str], samples: npt.ArrayLike, sample_rate: float, frequency: float | None = None,
         annotations: Iterable[Mapping[str, Any]] = (), description: str = "", extra: Mapping[str, Any] | None = None,
         overwrite: bool = True) -> pathlib.Path:
    """Write samples, complex [n], as <stem>.sigmf-meta and <stem>.sigmf-data (cf32_le), both or neither.

    sample_rate, frequency: Hz. annotations: dicts with SigMF's keys, core:sample_start at least. extra: further fields of the
    global object, stored as alpha_rgs:<key>. Returns the path of the metadata. Raises RecordingError where files of that name
    exist and overwrite is False, or cannot be written.
    """
    stem = pathlib.Path(stem)
    stem = stem.with_suffix("") if stem.suffix in (_META, _DATA) else stem
    meta_name, data_name = stem.name + _META, stem.name + _DATA
    with all_or_nothing(stem.parent, [meta_name, data_name], overwrite) as folder:
        data = np.ascontiguousarray(samples, dtype="<c8")
        data.tofile(folder / data_name)
        info: dict[str, Any] = {"core:datatype": "cf32_le", "core:sample_rate": float(sample_rate), "core:recorder": "alpha-rgs"}
        if description:
            info["core:description"] = description
        if extra:
            info["core:extensions"] = [_EXTENSION]
            info.update({f"alpha_rgs:{key}": value for key, value in extra.items()})
        meta = sigmf.SigMFFile(global_info=info)
        meta.add_capture(0, metadata={} if frequency is None else {"core:frequency": frequency})
        for note in annotations:
            rest = {key: value for key, value in note.items() if key not in ("core:sample_start", "core:sample_count")}
            meta.add_annotation(note["core:sample_start"], note.get("core:sample_count"), metadata=rest)
        if len(data):
            meta.set_data_file(str(folder / data_name))     # computes core:sha512
        meta.validate()
        (folder / meta_name).write_text(meta.dumps() + "\n")
    return stem.parent / meta_name


_Opened = tuple[Any, pathlib.Path, str, float]      # sigmf.SigMFFile, path of what was read, datatype, sample rate in Hz


def _open(path: pathlib.Path, datatype: str | None, sample_rate: float | None) -> _Opened:
    """(SigMFFile, path of what was read, datatype, sample rate), everything checked but the values."""
    stem = path.with_suffix("") if path.suffix in (_META, _DATA) else path
    meta_path = stem.with_name(stem.name + _META)
    if path.is_dir():
        raise RecordingError(f"{path}: is a folder; name the recording in it")
    if path.suffix == _ARCHIVE and path.is_file():
        return _open_archive(path, datatype, sample_rate)
    if path.suffix == ".sigmf-collection":
        raise RecordingError(f"{path}: is a collection; name one of its recordings")
    if path.suffix in (_META, _DATA) or (not path.exists() and meta_path.exists()):
        return _open_sigmf(meta_path, datatype, sample_rate)
    return _open_raw(path, datatype, sample_rate)


def _open_raw(path: pathlib.Path, datatype: str | None, sample_rate: float | None) -> _Opened:
    if not path.is_file():
        raise RecordingError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
    if datatype is None:
        datatype = path.suffix.lstrip(".").lower()
        if datatype not in RAW and not _SIGMF_TYPE.fullmatch(datatype):
            raise RecordingError(f"{path}: the name does not say the datatype of this raw file; pass --datatype, one of "
                                 f"{', '.join(RAW)}, or a SigMF name such as ci16_le")
    datatype = _datatype(path, datatype)
    sample_rate = _sample_rate(path, sample_rate, "a raw file holds no sample rate")
    _check_size(path, path.stat().st_size, datatype)
    meta = {"global": {"core:datatype": datatype, "core:sample_rate": sample_rate, "core:version": "1.0.0"},
            "captures": [{"core:sample_start": 0}], "annotations": []}
    return sigmf.SigMFFile(metadata=meta, data_file=str(path), skip_checksum=True), path, datatype, sample_rate


def _open_sigmf(meta_path: pathlib.Path, datatype: str | None, sample_rate: float | None) -> _Opened:
    if not meta_path.is_file():
        raise RecordingError(f"{meta_path}: no such file; a SigMF recording is a .sigmf-meta and a .sigmf-data file (for a raw "
                             "file pass its own name, and --datatype)")
    meta = sigmf_metadata.metadata(meta_path)
    info, captures = meta["global"], meta["captures"]
    skip = info.get("core:trailing_bytes", 0) + sum(c.get("core:header_bytes", 0) for c in captures)
    datatype, sample_rate = _check_global(meta_path, info, datatype, sample_rate)
    data_path = meta_path.with_name(info["core:dataset"]) if "core:dataset" in info else meta_path.with_suffix(_DATA)
    if info.get("core:metadata_only"):
        raise RecordingError(f"{meta_path}: is a metadata-only distribution; it has no samples to read")
    if not data_path.is_file():
        raise RecordingError(f"{data_path}: no such file; {meta_path.name} describes the samples in it")
    _check_size(data_path, data_path.stat().st_size - skip, datatype)
    recording = _by_package(data_path, lambda: sigmf.SigMFFile(metadata=meta, data_file=str(data_path)))
    return recording, data_path, datatype, sample_rate


def _open_archive(path: pathlib.Path, datatype: str | None, sample_rate: float | None) -> _Opened:
    from sigmf.archivereader import SigMFArchiveReader

    handle = _by_package(path, lambda: SigMFArchiveReader(str(path)).sigmffile)
    info = handle.get_global_info()
    sigmf_metadata.check(path, {"global": info, "captures": handle.get_captures(), "annotations": handle.get_annotations()})
    if datatype is not None and datatype != info.get("core:datatype"):
        raise RecordingError(f"{path}: an archive says its datatype itself ({info.get('core:datatype')}); leave out --datatype")
    datatype, sample_rate = _check_global(path, info, datatype, sample_rate)
    size = getattr(handle, "data_size_bytes", None)
    if size is not None:
        _check_size(path, size, datatype)
    return handle, path, datatype, sample_rate


def _by_package(path: pathlib.Path, read: Callable[[], Any]) -> Any:
    """What the sigmf package reads; its errors, some of them of plain Python, become a RecordingError."""
    try:
        return read()
    except (sigmf.error.SigMFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, EOFError,
            RecursionError) as error:
        if "hash does not match" in str(error):
            raise RecordingError(f"{path}: differs from the checksum in its metadata (core:sha512); it was cut or changed. Copy "
                                 "it again, or remove core:sha512 if the change was meant") from None
        raise RecordingError(f"{path}: cannot be read as SigMF: {str(error) or repr(error)}") from None


def _check_global(path: pathlib.Path, info: dict[str, Any], datatype: str | None,
                  sample_rate: float | None) -> tuple[str, float]:
    channels = info.get("core:num_channels", 1)
    if channels != 1:
        raise RecordingError(f"{path}: has {channels} channels (core:num_channels); give a recording of one channel")
    if datatype is None and "core:datatype" not in info:
        raise RecordingError(f"{path}: has no core:datatype; pass --datatype")
    datatype = info["core:datatype"] = _datatype(path, info.get("core:datatype") if datatype is None else datatype)
    rate = info.get("core:sample_rate") if sample_rate is None else sample_rate
    return datatype, _sample_rate(path, rate, "has no core:sample_rate")


def _datatype(path: pathlib.Path, name: Any) -> str:
    name = RAW.get(name, name)
    if not isinstance(name, str) or not _SIGMF_TYPE.fullmatch(name):
        raise RecordingError(f"{path}: datatype {shown(name)} is not known; one of {', '.join(RAW)}, or a SigMF name such "
                             "as ci16_le")
    if name[0] == "r":
        raise RecordingError(f"{path}: holds real samples ({name}); complex baseband is needed, such as GNU Radio's Hilbert or "
                             "Frequency Xlating FIR Filter makes")
    return name if "8" in name or "_" in name else name + "_le"


def _sample_rate(path: pathlib.Path, rate: Any, missing: str) -> float:
    if rate is None:
        raise RecordingError(f"{path}: {missing}; pass --sample-rate, in Hz")
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise RecordingError(f"{path}: sample rate {shown(rate)} must be a positive number of Hz; pass --sample-rate")
    return float(rate)


def _check_size(path: pathlib.Path, size: int, datatype: str) -> None:
    sample = 2 * int("".join(re.findall(r"\d", datatype))) // 8
    if size <= 0:
        raise RecordingError(f"{path}: is empty; a recording holds at least one sample of {sample} bytes ({datatype})")
    if size % sample:
        raise RecordingError(f"{path}: is cut in the middle of a sample: {size} bytes are no multiple of {sample} ({datatype}); "
                             f"copy it again, give its true --datatype, or drop the last {size % sample} bytes")
