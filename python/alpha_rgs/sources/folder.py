# SPDX-License-Identifier: GPL-3.0-or-later
"""Priors made from data, as folders: prior.toml says what it is, weights.safetensors holds its numbers.

    format = 1                  # a greater one is refused
    kind = "gaussian"           # or "diffusion"
    sample_rate = 20000000.0    # Hz; a period and lags are in samples at this rate
    sha256 = "…"                # of weights.safetensors
    period = 80                 # samples; gaussian, or a diffusion without [source]
    lags = 80
    # period_offset = 17        # samples from the first sample to the first whole period; left out: found from the mixture
    [network]                   # diffusion: kind and sizes (nets/denoiser.py)
    [source]                    # diffusion: the structure that is known besides, with the keys of a prior file of its kind; its
                                # nuisances may be edited
    [provenance]                # command, recordings (file names only), date, version: for people
The weights hold `covariance`, float32 [period, lags, 2] (real and imaginary parts), where there is no [source], and the
network's tensors as `network.*`.
"""
from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AlphaRgsError, ParameterError
from ..parsing import shown, toml_file
from .base import Source
from .gaussian import Gaussian

FORMAT = 1
HEADER, WEIGHTS = "prior.toml", "weights.safetensors"
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
_KEYS = {"format": (int,), "kind": (str,), "sample_rate": (int, float), "period": (int,), "lags": (int,), "sha256": (str,),
         "period_offset": (int,), "network": (dict,), "source": (dict,), "provenance": (dict,)}


def refuse_pickle(path: pathlib.Path) -> None:
    """Raise ParameterError where a path's suffix is a pickle's."""
    if pathlib.Path(path).suffix.lower() in _PICKLES:
        raise ParameterError(f"{path}: is a pickle by its name, and reading a pickle runs whatever code its maker put in it; a "
                             f"prior is a TOML file, or a folder with {HEADER} and {WEIGHTS}")


def load_folder(path: pathlib.Path) -> Source:
    """The prior in a folder. Raises ParameterError naming the file: missing, malformed, newer, cut, changed, of another shape."""
    path = pathlib.Path(path)
    table = read_header(path)
    file, weights = path / HEADER, path / WEIGHTS
    number = table.get("format")
    if type(number) is not int or number < 1:
        raise ParameterError(f"{file}: format: {shown(number)} must be {FORMAT}")
    if number > FORMAT:
        raise ParameterError(f"{file}: format: {shown(number)} is newer than this version of alpha-rgs reads ({FORMAT}); "
                             "update it")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ParameterError(f"{file}: kind: {shown(kind)} must be 'gaussian' or 'diffusion'")
    for key, value in table.items():
        if key not in _KEYS or key in _KINDS[kind].unused:
            raise ParameterError(f"{file}: unknown key {shown(key)}; known keys: {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            raise ParameterError(f"{file}: {key}: {shown(value)} is of the wrong type")
    for key in _KINDS[kind].needed + (() if "source" in table else _KINDS[kind].without_source):
        if key not in table:
            raise ParameterError(f"{file}: {key} is missing")
    rate = table.get("sample_rate")
    if rate is not None and not 0 < rate < float("inf"):
        raise ParameterError(f"{file}: sample_rate: {shown(rate)} must be a positive number of Hz")
    tensors = _weights(path, weights, table["sha256"])
    source = _source(file, table["source"]) if "source" in table else _covariance(file, weights, table, tensors)
    return _KINDS[kind].read(file, weights, table, tensors, source)


def _source(file: pathlib.Path, table: dict[str, Any]) -> Source:
    from .toml import from_dict

    return from_dict(table, f"{file}: source")


def _covariance(file: pathlib.Path, weights: pathlib.Path, table: dict[str, Any], tensors: dict[str, Tensor]) -> Source:
    covariance = tensors.get("covariance")
    if covariance is None:
        raise ParameterError(f"{weights}: holds no tensor named covariance")
    wanted = (table["period"], table["lags"], 2)
    if tuple(covariance.shape) != wanted or covariance.dtype != torch.float32 or not covariance.numel():
        raise ParameterError(f"{weights}: covariance is {covariance.dtype} of shape {list(covariance.shape)}, but {HEADER} says "
                             f"of float32 [{table['period']}, {table['lags']}, 2]")
    pairs = covariance.double().numpy()
    try:
        return Gaussian(pairs[..., 0] + 1j * pairs[..., 1], table.get("period_offset"), table.get("sample_rate"))
    except ParameterError as error:
        where = file if str(error).startswith("period_offset") else weights
        raise ParameterError(f"{where}: {error}") from None


def _fitted(file: pathlib.Path, weights: pathlib.Path, table: Any, tensors: dict[str, Tensor], source: Source) -> Source:
    return source


def _learned(file: pathlib.Path, weights: pathlib.Path, table: Any, tensors: dict[str, Tensor], source: Source) -> Source:
    from ..nets import build
    from .learned import with_network

    try:
        network = build(table["network"])
        prior = with_network(source, network)
    except AlphaRgsError as error:
        raise ParameterError(f"{file}: {error}") from None
    given = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
    wanted = network.state_dict()
    wanted["spectrum"] = given.get("spectrum", wanted["spectrum"])      # of any number of bins
    for key in sorted(wanted.keys() | given.keys()):
        if key not in given or key not in wanted or given[key].shape != wanted[key].shape:
            held = "no tensor" if key not in given else f"one of shape {list(given[key].shape)}"
            meant = "none" if key not in wanted else f"one of shape {list(wanted[key].shape)}"
            raise ParameterError(f"{weights}: is of another network than {HEADER} describes: it holds {held} named "
                                 f"network.{key}, where there should be {meant}")
        if not bool(torch.isfinite(given[key]).all()):
            raise ParameterError(f"{weights}: holds NaN or infinite weights (network.{key}); train it again")
    density = wanted["spectrum"]
    if density.ndim != 1 or not len(density) or bool((density < 0).any()) or not bool(density.sum() > 0):
        raise ParameterError(f"{weights}: network.spectrum must be a power density, of shape [bins] and not negative; train it "
                             "again")
    network.spectrum = density.float().clone()
    network.load_state_dict({key: value.float() for key, value in given.items()})
    network.digest = table["sha256"][:16]
    network.eval().requires_grad_(False)
    return prior


@dataclass(frozen=True)
class _Kind:
    """Of a folder. needed: keys; without_source: keys that are needed too where [source] says no structure; unused: keys that
    mean nothing there; read(file, weights, table, tensors, source) -> the prior, from the source that file or covariance give."""

    needed: tuple[str, ...]
    without_source: tuple[str, ...]
    unused: tuple[str, ...]
    read: Callable[[pathlib.Path, pathlib.Path, Any, dict[str, Tensor], Source], Source]


_KINDS = {"gaussian": _Kind(("period", "lags", "sha256"), (), ("network", "source"), _fitted),
          "diffusion": _Kind(("network", "sha256"), ("period", "lags"), (), _learned)}


def read_header(path: pathlib.Path) -> dict[str, Any]:
    """The table of prior.toml in a folder. Raises ParameterError where it is missing, or no TOML."""
    file = pathlib.Path(path) / HEADER
    try:
        return toml_file(file)
    except FileNotFoundError:
        for other in sorted(pathlib.Path(path).iterdir()):
            refuse_pickle(other)
        raise ParameterError(f"{file}: no such file; a prior that is a folder holds {HEADER} and {WEIGHTS}") from None


def _weights(folder: pathlib.Path, path: pathlib.Path, sha256: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        for other in sorted(folder.iterdir()):
            refuse_pickle(other)
        raise ParameterError(f"{path}: no such file; the folder is not complete, copy it again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ParameterError(f"{path}: differs from its sha256 in {HEADER}; it was cut or changed, copy the folder again")
    try:
        return load(data)
    except SafetensorError as error:
        raise ParameterError(f"{path}: is no safetensors file: {error}") from None


def write(prior: Any, folder: pathlib.Path, provenance: dict[str, Any] | None = None) -> None:
    """Write prior.toml and weights.safetensors of a Gaussian or a learned prior into a folder that is there. See save."""
    from safetensors.torch import save as serialise

    from .toml import text_of, toml_lines

    folder, tensors, tables = pathlib.Path(folder), {}, {}
    lines = [f"format = {FORMAT}", f'kind = "{"diffusion" if prior.learned else prior.kind}"']
    if getattr(prior, "sample_rate", None) is not None:
        lines.append(f"sample_rate = {float(prior.sample_rate)!r}")
    if prior.learned:
        tensors = {f"network.{key}": value.contiguous() for key, value in prior.network.state_dict().items()}
        tables["network"] = [f"{key} = {text_of(value)}" for key, value in prior.network.table.items()]
    if arrays := prior.arrays():
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        lines += [f"period = {prior.period}", f"lags = {prior.lags}"]
        if prior.period_offset is not None and prior.period > 1:
            lines.append(f"period_offset = {int(prior.period_offset)}")
    else:
        tables["source"] = toml_lines(prior)
    data = serialise(tensors)
    lines.append(f'sha256 = "{hashlib.sha256(data).hexdigest()}"')
    if provenance:
        tables["provenance"] = [f"{key} = {text_of(value)}" for key, value in provenance.items()]
    for name, rows in tables.items():
        lines += ["", f"[{name}]", *rows]
    (folder / WEIGHTS).write_bytes(data)
    (folder / HEADER).write_text("\n".join(lines) + "\n", encoding="utf-8")


def save(prior: Source, path: pathlib.Path, provenance: dict[str, Any] | None = None,
         overwrite: bool = False) -> None:
    """Write a prior made from data as the folder `path`, whole or not at all. provenance: texts and lists of texts.

    Raises RecordingError where it cannot be written (disk full), or is there already and overwrite is False.
    """
    from ..io.recordings import all_or_nothing

    with all_or_nothing(path, [HEADER, WEIGHTS], overwrite) as folder:
        write(prior, folder, provenance)
