# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs simulate: a mixture whose truth is known."""
import math
import pathlib
from typing import Annotated, Any

import typer

from ..errors import CapabilityError, ParameterError
from .common import MOST_SAMPLES, MOST_SEED, Output, Overwrite, at_rate, finite, levels, prior_of, say, write_json


def simulate(
    output: Output,
    soi: Annotated[pathlib.Path | None, typer.Option(metavar="SOI.toml", help="Default: the paper's RRC-QPSK.")] = None,
    interference: Annotated[pathlib.Path | None, typer.Option(metavar="INT.toml", help="Default: the paper's OFDM.")] = None,
    sir_db: Annotated[float, typer.Option(help="Power of the signal over the interference; inf for no interference.")] = -12.0,
    snr_db: Annotated[float | None, typer.Option(help="Power of the signal over noise, per sample; default no noise.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Length of the recording.")] = 100_000,
    sample_rate: Annotated[float, typer.Option(help="In Hz.")] = 25e6,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same mixture.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a mixture whose truth is known.

    Writes mixture, soi and interference (as received) as SigMF; the priors soi.toml and interference.toml with the true
    nuisances, as `alpha-rgs separate` reads them; and truth.json with the bits of all symbols inside. What a file leaves open
    (timing, phase, carrier offset) is drawn; truth.json lists it under "drawn".
    """
    from ..io import recordings
    from ..sources import mixtures
    from ..streaming import report

    stems = ("mixture", "soi", "interference")
    names = [f"{stem}.sigmf-{part}" for stem in stems for part in ("meta", "data")]
    with recordings.all_or_nothing(output, [*names, "soi.toml", "interference.toml", "truth.json"], overwrite) as folder:
        if not 0 < sample_rate < math.inf:
            raise ParameterError(f"--sample-rate: {sample_rate} must be a positive number of Hz")
        given, reaches = zip(*_sources(soi, interference, sample_rate))
        levels(given[0], sir_db, snr_db)
        whole = [mixtures.completed(source, seed + k, reach) for k, (source, reach) in enumerate(zip(given, reaches))]
        try:
            drawn = mixtures.draw(whole[0], whole[1], 1, samples, sir_db, snr_db, seed)
        except (ParameterError, CapabilityError) as error:
            raise ParameterError(f"{interference or soi}: {error}") from None
        chosen = {"sir_db": finite(sir_db), "snr_db": finite(snr_db), "kappa": drawn.kappa, "noise_var": drawn.noise_var,
                  "seed": seed}
        truth: dict[str, Any] = {
            **chosen, "samples": samples, "soi": report.plain(drawn.soi), "interference": report.plain(drawn.interference),
            "drawn": {"soi": _drawn(given[0], drawn.soi), "interference": _drawn(given[1], drawn.interference)},
            "bits": "".join(map(str, drawn.bits[0].tolist()))}
        comment = "; ".join(f"{key} {value:g}" for key, value in chosen.items() if value is not None)
        note = [{"core:sample_start": 0, "core:sample_count": samples, "core:label": "simulated", "core:comment": comment}]
        parts = (("mixture", drawn.y, "Mixture"), ("soi", drawn.s, "Signal of interest alone"),
                 ("interference", drawn.kappa * drawn.b, "Interference alone, as received"))
        for stem, wave, about in parts:
            recordings.save(folder / stem, wave[0].numpy(), sample_rate, annotations=note, description=f"{about}, simulated",
                            extra=chosen)
        (folder / "soi.toml").write_text(report.to_toml(drawn.soi, "The signal of interest, as it was simulated."))
        (folder / "interference.toml").write_text(report.to_toml(
            drawn.interference, "The interference, as it was simulated.\n"
            "Remove what alone this recording has (frame_offset or timing, phase) to have it estimated from the mixture."))
        write_json(folder / "truth.json", truth)
    say(f"{output}: {samples} samples, {comment}")
    for stem, keys in truth["drawn"].items():
        if keys:
            say(f"drawn of {stem}: " + ", ".join(f"{key} {truth[stem][key]:.6g}" for key in keys))
    say(f"separate them: alpha-rgs separate {output / 'mixture.sigmf-meta'} --soi {output / 'soi.toml'} "
               f"--interference {output / 'interference.toml'} -o {output / 'separated'}")


def _sources(soi: pathlib.Path | None, interference: pathlib.Path | None, sample_rate: float) -> list[tuple[Any, float]]:
    """Both sources, the paper's where no file is given, and how far from zero `separate` looks for their carrier offsets, cycles
    per sample. Raises ParameterError where one cannot be drawn."""
    from ..sources import mixtures
    from ..streaming.resampling import plan

    files: list[Any] = [prior_of(path)[0] if path else default
                        for path, default in zip((soi, interference), mixtures.paper_priors(symbols=None))]
    given = [at_rate(file, sample_rate) for file in files]
    for path, source in zip((soi, interference), given):
        if source.learned or source.fitted:
            raise ParameterError(f"{path}: kind: {source.kind!r} cannot be simulated; give the TOML file of its structure")
    inside = plan(files, sample_rate)
    return [(source, own.carrier_reach * min(inside.ratio, 1.0)) for source, own in zip(given, inside.sources)]


def _drawn(prior: Any, truth: Any) -> list[str]:
    """Keys of a source that its file leaves open, and that have a value in the mixture."""
    return [key for key in prior.state_names.values() if key != "gain" and getattr(prior, key, None) is None
            and getattr(truth, key, None) is not None]
