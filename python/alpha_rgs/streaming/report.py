# SPDX-License-Identifier: GPL-3.0-or-later
"""Priors and results in words, for reports and for people."""
from __future__ import annotations

import importlib.metadata
import math
import os
import pathlib
import tomllib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import native
from ..io.checks import clipped_share, peak_level
from ..parsing import toml_file
from ..signals import PRESETS
from ..sources.base import Source, Structure
from ..sources.description import Description, hertz_keys
from ..sources.linear_modulation import LinearModulation
from ..sources.toml import to_toml, values
from .engine import default_threads

if TYPE_CHECKING:
    from ..io.recordings import Recording
    from .stream import StreamResult, StreamSource

_MEANING = {        # of keys that no TOML file of a kind has: of folders and presets
    "preset": "IEEE 802.11a/n at 20 MHz: bursts, guard intervals, carrier offsets, channels and alphabets are estimated",
    "period": "samples after which the covariance repeats; 1: stationary",
    "lags": "samples after which the covariance is zero",
    "period_offset": "samples from the first sample to the first whole period",
    "sample_rate": "Hz, of the recordings that it was fitted to",
}
_PHASE = {None: "known only up to a {turn}, one and the same throughout (a preamble would resolve it)",
          False: "known only up to a {turn}: the preamble was not found",
          True: "resolved by the preamble"}
_DC, _CLIPPED = 0.01, 1e-3     # shares of power and of samples beyond which there is a warning
_LEVELS = 24                    # of an integer recording, fewer of which on either side is coarse: noise 28 dB below the peak
_FAINT = 15.0                   # dB of SIR above which the interference may not be there at all
_OF_PULSES = {"rolloff": ("rrc", "rc"), "span": ("rrc", "rc", "gaussian"), "bandwidth_time": ("gaussian",)}
_TURN = {2: "half turn", 4: "quarter turn"}


def given_keys(path: pathlib.Path) -> set[str]:
    """The keys that a TOML file sets, or prior.toml in a folder, those of its [source] too."""
    path = path / "prior.toml" if path.is_dir() else path
    table = toml_file(path)
    named = PRESETS.get(table["preset"], ()) if isinstance(table.get("preset"), str) else ()       # these say it too
    return set(table) | set(table.get("source", ())) | {*named, *(("dc_null", "constellation") if named else ())}


def engine_table() -> list[tuple[str, str, str]]:
    """Rows (what, value, meaning) of what the engine computes with on this machine, texts."""
    sets, built = native.instruction_sets(), native.built()
    without = f"torch, since {native.VARIABLE}=0" if built else "torch, not built"
    used = f"{native.instructions()} of {', '.join(sets)}" if sets else without
    numba = _version("numba")
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none that torch can use"
    return [("native detector", used, f"joint detection under OFDM; {native.VARIABLE}=0 forces torch, or names instructions"),
            ("numba", numba or "torch, not installed", "kernels of FSK, GMSK and trellises"),
            ("torch", torch.__version__, f"{torch.get_num_threads()} threads"), ("numpy", np.__version__, ""),
            ("processors", str(os.cpu_count()), f"an engine takes {default_threads()} by itself"), ("CUDA", cuda, "")]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def prior_table(prior: Any, given: set[str] | None = None) -> list[tuple[str, str, str]]:
    """Rows (key, value, meaning) of all keys of a prior, texts. given: the keys set by its file; the others are marked."""
    rows = [("kind", prior.kind, "what is known about the source")]
    if isinstance(prior, Description):
        return rows + _described(prior)
    if prior.learned:
        size = sum(p.numel() for p in prior.network.parameters())
        does = f"its denoiser: {'white and coloured noise' if prior.takes_basis else 'white noise only'}"
        if prior.supervised:
            does = "separates mixtures like those that it was trained on, in one pass"
        elif prior.structure is Structure.BURSTS:
            does = "decides the carriers of a burst, asked by joint detection"
        rows.append(("network", f"{type(prior.network.net).__name__} of {size} weights", does))
    for key, value in values(prior).items():
        if value is None and (key == "gain" or key in prior.keys or key in prior.estimable):
            value = _open(prior, key)
        elif given is not None and key not in given:
            value = f"{_text(key, value)} (not given)"
        rows.append((key, _text(key, value), prior.keys[key].meaning if key in prior.keys else _MEANING.get(key, "")))
    return rows + _bursts(prior)


def _open(prior: Source, key: str) -> str:
    """What becomes of a key that a file leaves out."""
    if key == "carrier_offset" and prior.structure is Structure.CHAIN:
        return "estimated; 0 as interference of a known signal"
    if key in prior.estimable or key == "gain":
        return "estimated"
    return {"symbols": "endless", "phase": "any, of each symbol by itself"}.get(key, "unknown")


def _bursts(prior: Source) -> list[tuple[str, str, str]]:
    """A row, none or one, on whether gaps are looked for."""
    if "bursts" in prior.unknown:
        return [("bursts", "estimated", "start, length, gain, phase and carrier offset of each")]
    if prior.intermittent or prior.in_packets() is not None:
        return [("bursts", "estimated where there are gaps", "each with timing, phase, gain and carrier offset of its own")]
    endless = prior.structure is not Structure.BURSTS and "phase" in prior.unknown and not prior.learned
    return [("bursts", "none", "it is taken to be always on")] if endless else []


def _described(prior: Description) -> list[tuple[str, str, str]]:
    """Rows of a source whose file gives rates in Hz."""
    keys = {**prior.source.keys, **hertz_keys(prior.source)}
    (low, high), (source, rate) = prior.band(), prior.sampled()
    rows = [(name, _text(name, value), keys[name].meaning) for name, value in prior.table.items() if value is not None]
    wide = source.carrier_reach > Source.carrier_reach          # then it goes with the symbol rate
    reach = f"within ±{source.carrier_reach * rate:.9g} Hz" if wide else (
        f"within ±{100 * source.carrier_reach:g} % of the sample rate inside")
    lacking = [name for name in source.state_names.values() if getattr(source, name) is None]
    rows += [(name, _open(source, name), f"{keys[name].meaning}, {reach}" if name == "carrier_offset" else keys[name].meaning)
             for name in keys if name in lacking]
    return [*rows, *_bursts(source), ("band", f"{low:.9g} to {high:.9g} Hz",
                                      "that holds 99 % of its power, from the recording's frequency")]


def not_given(prior: Any, given: Collection[str]) -> list[tuple[str, str]]:
    """(key, value as text) of what a source's file does not say, and what the source's waveform depends on."""
    pulse = getattr(getattr(prior, "signal", None), "pulse", None)
    unused = {"delay_spread", "symmetry", *(key for key, pulses in _OF_PULSES.items() if pulse and pulse not in pulses)}
    return [(key, "flat" if key == "channel" else _text(key, value)) for key, value in values(prior).items()
            if key not in given and value is not None and key not in unused]


def assumptions(soi: Any, interference: Any, soi_given: Collection[str], interference_given: Collection[str],
                estimated: Collection[str], settled: bool | None = None) -> list[str]:
    """What the result rests on without the files saying so: a list of sentences.

    *_given: the keys that the files set. estimated: names of what was found from the mixture. settled: of StreamResult.
    """
    out = []
    for role, prior, given in (("signal of interest", soi, soi_given), ("interference", interference, interference_given)):
        out += [f"{key} of the {role}: {value} (not given)" for key, value in not_given(prior, given)]
    signal = getattr(interference, "signal", None)
    alphabet = getattr(signal, "unknown_alphabet", getattr(signal, "alphabet", None))
    if "phase" in estimated and alphabet is not None and alphabet.symmetry:
        turn = _TURN.get(alphabet.symmetry, f"turn by 1/{alphabet.symmetry}")
        out.append(f"phase of the interference: known only up to the symmetry of its alphabet, {alphabet.name} (a {turn})")
    if soi.structure is Structure.CHAIN and soi.phase is None and not soi.differential:
        turn = _TURN.get(soi.signal.alphabet.symmetry, f"turn by 1/{soi.signal.alphabet.symmetry}")
        out.append(f"phase of the signal of interest: {_PHASE[settled]}".format(turn=turn))
    if soi.structure is Structure.CHAIN and soi.symbols is None:
        out.append("signal of interest: goes on before and after the recording (symbols not given)")
    return out


def estimates(found: dict[str, Any], hop: int, frame_length: int | None = None) -> dict[str, Any]:
    """What was estimated, per window, in short: name -> dict for JSON.

    found: name -> [windows]; window k begins at sample k·hop. A frame offset is also compared between windows.
    """
    out = {}
    for name, rows in found.items():
        rows = np.asarray(rows)
        out[name] = {"first_window": rows[0].item()}
        if name in ("frame_offset", "period_offset") and frame_length:
            stream = (rows + hop * np.arange(len(rows))) % frame_length
            out[name]["windows_that_agree_with_the_first"] = int(np.sum(stream == stream[0]))
        elif name in ("kappa", "noise_var", "kappa_std", "noise_var_std"):
            out[name].update(mean=float(rows.mean()), min=float(rows.min()), max=float(rows.max()))
    return out


def deviations(result: StreamResult) -> dict[str, Any]:
    """What may be wrong with a StreamResult's SIR and noise in one window, standard deviations, medians over windows: {"sir_db":
    dB, "noise_var": per sample}, None where given and not estimated."""
    found = {name: np.asarray(rows, float) for name, rows in result.estimated.items()}
    sir = None
    if "kappa_std" in found:
        share = (found["kappa_std"] / np.maximum(found["kappa"], 1e-9)) ** 2
        if "gain_std" in found and len(found["gain_std"]) == len(share):
            share += (found["gain_std"] / np.maximum(found["gain"], 1e-9)) ** 2
        sir = float(20 / math.log(10) * np.median(share) ** 0.5)
    return {"sir_db": sir, "noise_var": float(np.median(found["noise_var_std"])) if "noise_var_std" in found else None}


def spread(values: np.ndarray) -> Any:
    """Mean, extremes and percentiles of per-window figures, for JSON; None where there is nothing finite."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, median, high = np.percentile(values, (5, 50, 95))
    return {"mean": values.mean(), "min": values.min(), "p5": low, "median": median, "p95": high, "max": values.max()}


def plain(prior: Source) -> dict[str, Any]:
    """A prior's known keys as a dict for JSON."""
    return {"kind": prior.kind, **tomllib.loads(to_toml(prior))}


def _text(key: str, value: Any) -> str:
    if key == "channel" and value == (1,):
        return "flat"
    if isinstance(value, (tuple, list)):
        return ", ".join(_text("", v) for v in value)
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def no_bits(source: Any, one: StreamSource) -> str | None:
    """Why no bits of a separated source can be written; None where there are some."""
    if one.symbols is None:
        return "no symbols are read of it"
    if not len(one.symbols):
        return "none of its symbols was detected"
    if one.bits is not None:
        return None
    if one.llrs is None or not one.llrs.shape[-1]:
        return "its constellation is unknown"
    others = ", a preamble, or differential = true" if source.structure is Structure.CHAIN else ""
    return f"its phase is estimated, which leaves its bits ambiguous; give its phase{others}"


def warnings(recording: Recording, soi: LinearModulation, result: Any, names: Sequence[str],
             reach: float | None = None) -> list[str]:
    """What speaks against a StreamResult: sentences. recording: the mixture that was separated; names: of its sources, soi being
    the first; reach: Hz to each side, within which its carrier offset was looked for."""
    out, count, name = [], len(result.quality), pathlib.Path(recording.path).name
    share, coarse, x = clipped_share(recording), peak_level(recording), recording.samples
    if share > _CLIPPED:
        out.append(f"{name}: {100 * share:.3g} % of the samples are clipped, which mixes the sources; record again at a lower "
                   "gain")
    if coarse is not None and 0 < coarse < _LEVELS:
        out.append(f"{name}: takes {coarse} levels on either side of zero, so that rounding is noise; record again at a higher "
                   "gain")
    power, mean = float(np.mean(abs(x.astype(complex)) ** 2)), abs(complex(np.mean(x, dtype=complex))) ** 2
    lines = np.asarray(result.estimated.get("dc", 0.0))
    if lines.any():
        out.append(f"{name}: a line at frequency zero, amplitude {float(np.median(lines[lines > 0])):.3g}, was subtracted")
    elif mean > _DC * power:
        out.append(f"{name}: {100 * mean / power:.3g} % of the power is DC; remove it if it is the receiver's")
    if soi.structure is Structure.CHAIN:
        least = result.least_quality
        bad = int(np.sum(~(result.quality > least)))
        if bad:
            carrier = f", and its carrier must lie within ±{reach:.6g} Hz" if reach is not None else ""
            out.append(f"{names[0]}: its symbols are unreliable in {bad} of {count} windows (quality below {least:.1f} dB): the "
                       f"recording must hold {' and '.join(names)} as their files describe them{carrier}")
    faint = int(np.sum(result.sir_db > _FAINT))
    if faint:
        out.append(f"{' and '.join(names[1:])}: absent, or more than {_FAINT:g} dB weaker than {names[0]}, in {faint} of {count} "
                   "windows")
    return out + list(result.warnings)


def recording_table(recording: Any) -> Any:
    """Rows (what, value) about a Recording: length, rate, power, peak, DC, clipping."""
    x = recording.samples
    parts = x.view(np.float32)
    power = float(np.mean(np.square(parts, dtype=np.float64))) * 2
    dc = abs(complex(np.mean(x, dtype=np.complex128)))
    peak = float(np.abs(x).max())
    rows = [("file", recording.path), ("datatype", recording.datatype), ("sample rate", f"{recording.sample_rate:.9g} Hz"),
            ("length", f"{len(x)} samples, {len(x) / recording.sample_rate:.6g} s")]
    if recording.frequency is not None:
        rows.append(("frequency", f"{recording.frequency:.9g} Hz"))
    rows += [("power", f"{_db(power, 10)} (1 is 0 dB)"), ("peak", f"{peak:.4g} ({_db(peak, 20)})"),
             ("DC", f"{dc:.3g}" + (f" ({_db(dc / math.sqrt(power), 20)} relative to the whole power)" if dc > 0 else "")),
             ("clipped", f"{100 * clipped_share(recording):.3g} % of samples")]
    if recording.description:
        rows.append(("description", recording.description))
    for note in recording.annotations[:20]:
        begin, count = note.get("core:sample_start", 0), note.get("core:sample_count")
        where = f"from sample {begin}" + (f", {count} samples" if count else "")
        rows.append((f"annotation {note.get('core:label', '')}".strip(),
                     " · ".join(filter(None, (where, note.get("core:comment"))))))
    return rows


def _db(value: Any, factor: Any) -> Any:
    return f"{factor * math.log10(value):.2f} dB" if value > 0 else "-inf dB"
