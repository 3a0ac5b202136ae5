# SPDX-License-Identifier: GPL-3.0-or-later
"""What `alpha-rgs separate` reads and writes: prior files and a recording in, SigMF, bits and report.json out."""
from __future__ import annotations

import pathlib
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ..errors import ParameterError
from .common import finite, levels, prior_of, write_json

if TYPE_CHECKING:
    from ..io.recordings import Recording
    from ..streaming import StreamResult
    from ..streaming.resampling import Plan
    from ..streaming.stream import StreamSource

Separate = Callable[..., "StreamResult"]
_RATE_DIFFERS = 1e-3        # relative: sample rates of a recording and of a fitted prior that differ by more


@dataclass(frozen=True)
class Options:
    """The command's options, as it names them."""

    mix: pathlib.Path
    output: pathlib.Path
    method: str
    preset: str | None
    sir_db: float | None
    snr_db: float | None
    window: int | None
    hop: int | None
    datatype: str | None
    sample_rate: float | None
    overwrite: bool


def pair(options: Options, soi: pathlib.Path, interference: pathlib.Path, separate: Separate) -> dict[str, Any]:
    """Separate a signal of interest from one interference and write soi, interference, symbols, soi.cleaned, soi.bits and the
    report, which is returned. Raises ParameterError, RecordingError, CapabilityError."""
    from ..io import recordings
    from ..streaming import report as words
    from ..streaming.resampling import plan

    names = [*_sigmf("soi", "interference", "symbols", "soi.cleaned"), "soi.bits", "report.json"]
    with recordings.all_or_nothing(options.output, names, options.overwrite) as folder:
        (wanted, wanted_keys), (other, other_keys) = prior_of(soi), prior_of(interference)
        mixture = _mixture(options, [(interference, other)])
        given, to = (wanted, other), plan([wanted, other], mixture.sample_rate)
        wanted, other = (cast(Any, source) for source in to.sources)
        method, reason = _method(options.method, wanted, other)
        if options.preset and method != "alpha_rgs":
            raise ParameterError(f"--preset: is for the method alpha_rgs, but the method is {method}; leave it out, or pass "
                                 "--method alpha_rgs")
        kappa, noise_var = levels(wanted, options.sir_db, options.snr_db)
        result = separate(mixture.samples, *given, window=options.window, hop=options.hop, method=method, kappa=kappa,
                          noise_var=noise_var, sample_rate=mixture.sample_rate,
                          **({"preset": options.preset} if options.preset else {}))
        report = {
            "input": str(options.mix), "soi_prior": str(soi), "interference_prior": str(interference),
            "method": result.method, "method_chosen": reason, **_course(result, mixture, to),
            "symbols": len(result.symbols), "quality_db": words.spread(result.quality),
            "error_rate": words.spread(result.error_rate), "clock_offset_ppm": result.clock_offset,
            "sir_db": _median(result.sir_db), "noise_var": result.noise_var,
            **{f"{name}_std": finite(value) for name, value in words.deviations(result).items()},
            "evaluations": result.evaluations,
            "estimated": words.estimates(result.estimated, result.hop, other.frame_period or None),
            "assumed": words.assumptions(wanted, other, wanted_keys, other_keys, result.estimated, result.settled),
            "warnings": words.warnings(_usable(mixture), wanted, result, unique_stems([soi, interference]),
                                       to.carrier_reach(wanted)),
            "carrier_offsets": [_carrier(to, *each) for each in zip(("soi", "interference"), to.sources, result.sources)],
            "no_bits": words.no_bits(wanted, result.sources[0]), "versions": _versions(),
        }
        keep = _Writer(folder, mixture, result.method, options.mix.name)
        keep.wave("soi", result.soi, "Signal of interest")
        keep.wave("interference", result.interference, "Interference")
        keep.wave("soi.cleaned", result.sources[0].cleaned, "Mixture less the interference")
        keep.wave("symbols", result.symbols, "Soft symbols", wanted.symbol_period / to.ratio)
        keep.bits("soi", result.sources[0])
        write_json(folder / "report.json", report)
    return report


def several(options: Options, paths: Sequence[pathlib.Path], separate: Separate) -> dict[str, Any]:
    """Separate as many sources as there are files and write, for each, STEM, STEM.cleaned, STEM.symbols and STEM.bits, and the
    report, which is returned. Raises ParameterError, RecordingError, CapabilityError."""
    from ..io import recordings
    from ..separators.several import check_count
    from ..streaming import report as words
    from ..streaming.resampling import plan

    check_count(paths)
    stems = unique_stems(paths)
    names = [name for stem in stems for name in (*_sigmf(stem, f"{stem}.cleaned", f"{stem}.symbols"), f"{stem}.bits")]
    with recordings.all_or_nothing(options.output, [*names, "report.json"], options.overwrite) as folder:
        read = [prior_of(path) for path in paths]
        given = [source for source, _ in read]
        mixture = _mixture(options, list(zip(paths, given)))
        to = plan(given, mixture.sample_rate)
        sources: list[Any] = list(to.sources)
        read = [(source, keys) for source, (_, keys) in zip(sources, read)]
        if options.sir_db is not None:
            raise ParameterError("--sir-db: is a ratio of two powers; with --source give each source's gain in its file")
        noise_var = levels(sources[0], None, options.snr_db)[1]
        result = separate(mixture.samples, given, window=options.window, hop=options.hop, method=options.method,
                          noise_var=noise_var, sample_rate=mixture.sample_rate,
                          **({"preset": options.preset} if options.preset else {}))
        rows = [_row(stem, path, source, one, to) for stem, path, source, one in zip(stems, paths, sources, result.sources)]
        report = {
            "input": str(options.mix), "sources": rows, "method": result.method,
            "method_chosen": "as asked" if options.method != "auto" else "auto: " + ", ".join(row["kind"] for row in rows),
            **_course(result, mixture, to), "symbols": rows[0]["symbols"], "quality_db": rows[0]["quality_db"],
            "error_rate": rows[0]["error_rate"], "clock_offset_ppm": result.clock_offset, "sir_db": _median(result.sir_db),
            "noise_var": result.noise_var, **{f"{name}_std": finite(value) for name, value in words.deviations(result).items()},
            "estimated": words.estimates(result.estimated, result.hop, None), "assumed": _assumed(read, stems),
            "warnings": words.warnings(_usable(mixture), sources[0], result, stems, to.carrier_reach(sources[0])),
            "versions": _versions(),
        }
        keep = _Writer(folder, mixture, result.method, options.mix.name)
        for stem, source, one in zip(stems, sources, result.sources):
            keep.wave(stem, one.waveform, f"{stem}, as received,")
            keep.wave(f"{stem}.cleaned", one.cleaned, f"Mixture less all sources but {stem},")
            if one.symbols is not None:
                keep.wave(f"{stem}.symbols", one.symbols, f"Soft symbols of {stem}", source.symbol_period / to.ratio)
            keep.bits(stem, one)
        write_json(folder / "report.json", report)
    return report


def unique_stems(paths: Sequence[pathlib.Path]) -> list[str]:
    """The stem of each file, with -1, -2, ... where several share one."""
    stems = [path.name.removesuffix(".toml").removesuffix(".prior") or "source" for path in paths]
    total, seen, out = Counter(stems), Counter[str](), []
    for stem in stems:
        seen[stem] += 1
        name = f"{stem}-{seen[stem]}" if total[stem] > 1 else stem
        while name in out:
            name += "-1"
        out.append(name)
    return out


class _Writer:
    """Writes into one folder what was separated from one recording."""

    def __init__(self, folder: pathlib.Path, mixture: Recording, method: str, name: str):
        self.folder, self.mixture, self.method, self.name = folder, mixture, method, name

    def wave(self, stem: str, samples: Any, what: str, divider: float = 0) -> None:
        """Samples as SigMF; divider: samples of the recording to one of these, where that is known."""
        from ..io import recordings

        recordings.save(self.folder / stem, samples, self.mixture.sample_rate / (divider or 1), frequency=self.mixture.frequency,
                        description=f"{what} of {self.name} by alpha-rgs, method {self.method}", extra={"method": self.method})

    def bits(self, stem: str, source: StreamSource) -> None:
        """One byte per bit, where decisions are unambiguous."""
        if source.bits is not None:
            source.bits.tofile(self.folder / f"{stem}.bits")


def _sigmf(*stems: str) -> list[str]:
    return [f"{stem}.sigmf-{part}" for stem in stems for part in ("meta", "data")]


def _method(asked: str, soi: Any, interference: Any) -> tuple[str, str]:
    """(name, why)."""
    from ..separators import choose
    from ..separators.api import found_together
    from ..sources.base import Structure

    if soi.structure is not Structure.CHAIN or found_together(soi, interference, asked):
        return asked, "as asked" if asked != "auto" else f"auto: {_kind(soi)} under {_kind(interference)}"
    name = choose(asked, soi, interference)
    if asked != "auto":
        return name, "as asked"
    return name, "auto: both priors are structured" if name == "joint" else f"auto: {_kind(soi)} under {_kind(interference)}"


def _kind(source: Any) -> str:
    return f"{'learned ' if source.learned else ''}{source.kind}"


def _mixture(options: Options, sources: Sequence[tuple[pathlib.Path, Any]]) -> Recording:
    """The recording, of the rate that fitted priors were made at."""
    from ..io import recordings

    mixture = recordings.load(options.mix, options.datatype, options.sample_rate, flawed=True)
    for path, source in sources:
        rate = getattr(source, "sample_rate", None)
        if rate is not None and abs(mixture.sample_rate / rate - 1) > _RATE_DIFFERS:
            raise ParameterError(f"{path}: sample_rate: it was fitted at {rate:.9g} Hz, but {options.mix} has "
                                 f"{mixture.sample_rate:.9g} Hz; resample one of the recordings")
    return mixture


def _usable(mixture: Recording) -> Recording:
    """The recording as it was separated."""
    from ..options import unusable

    return replace(mixture, samples=mixture.samples[~unusable(mixture.samples)])


def _course(result: StreamResult, mixture: Recording, to: Plan) -> dict[str, Any]:
    """What both reports say of windows, rates and time."""
    return {"samples": len(mixture.samples), "windows": len(result.quality), "window": result.window, "hop": result.hop,
            "sample_rate": mixture.sample_rate, "sample_rate_inside": to.inside, "unreliable": result.unreliable,
            "seconds": result.seconds, "samples_per_second": len(mixture.samples) / max(result.seconds, 1e-9)}


def _carrier(to: Plan, name: str, source: Any, one: StreamSource) -> dict[str, Any]:
    """The carrier offset of a source, Hz, where it was estimated, and how far it was looked for to each side."""
    offset = None if one.carrier_offset is None else _median(one.carrier_offset)
    return {"name": name, "carrier_offset_hz": None if offset is None else offset * to.recorded,
            "carrier_reach_hz": to.carrier_reach(source)}


def _row(stem: str, path: pathlib.Path, source: Any, one: StreamSource, to: Plan) -> dict[str, Any]:
    from ..streaming import report as words

    return {**_carrier(to, stem, source, one), "prior": str(path), "kind": _kind(source),
            "gain": None if one.gain is None else _median(one.gain),
            "quality_db": None if one.quality is None else words.spread(one.quality),
            "error_rate": None if one.error_rate is None else words.spread(one.error_rate),
            "symbols": 0 if one.symbols is None else len(one.symbols), "bits": one.bits is not None,
            "no_bits": words.no_bits(source, one)}


def _assumed(read: Sequence[tuple[Any, set[str]]], stems: Sequence[str]) -> list[str]:
    """What files leave out and nobody estimates."""
    from ..streaming import report as words

    return [f"{key} of {stem}: {value} (not given)" for stem, (source, given) in zip(stems, read)
            for key, value in words.not_given(source, given) if key != "channel"]


def _versions() -> dict[str, str]:
    import numpy
    import torch

    from .. import __version__

    return {"alpha_rgs": __version__, "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()}


def _median(values: Any) -> float | None:
    import numpy

    return finite(float(numpy.median(values)))
