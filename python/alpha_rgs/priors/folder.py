# SPDX-License-Identifier: GPL-3.0-or-later
"""Priors fitted to recordings, as folders: prior.toml says what it is, weights.safetensors holds its numbers.

    format = 1                  # a greater one is refused
    kind = "gaussian"
    sample_rate = 20000000.0    # Hz; a period and lags are in samples at this rate
    period = 80                 # samples
    lags = 80
    sha256 = "…"                # of weights.safetensors
    # period_offset = 17        # samples from the first sample to the first whole period; left out: found from the mixture
    [provenance]                # command, recordings (file names only), date, version: for people
The weights hold `covariance`, float32 [period, lags, 2] (real and imaginary parts).
"""
import hashlib
import pathlib
import tomllib

import numpy as np
import torch

from ..errors import ParameterError
from .gaussian import Gaussian

FORMAT = 1
HEADER, WEIGHTS = "prior.toml", "weights.safetensors"
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
_KEYS = {"format": (int,), "kind": (str,), "sample_rate": (int, float), "period": (int,), "lags": (int,), "sha256": (str,),
         "period_offset": (int,), "provenance": (dict,)}
_NEEDED = ("period", "lags", "sha256")


def refuse_pickle(path):
    """Raise ParameterError where a path's suffix tells of a pickle."""
    if pathlib.Path(path).suffix.lower() in _PICKLES:
        raise ParameterError(f"{path}: is a pickle by its name, and reading a pickle runs whatever code its maker put in it; a "
                             f"prior is a TOML file, or a folder with {HEADER} and {WEIGHTS}")


def load_folder(path):
    """The prior in a folder. Raises ParameterError naming the file: missing, malformed, newer, cut, changed, of another shape."""
    path = pathlib.Path(path)
    table = read_header(path)
    file, weights = path / HEADER, path / WEIGHTS
    number = table.get("format")
    if type(number) is not int or number < 1:
        raise ParameterError(f"{file}: format: {number!r} must be {FORMAT}")
    if number > FORMAT:
        raise ParameterError(f"{file}: format: {number} is newer than this version of alpha-rgs reads ({FORMAT}); update it")
    if table.get("kind") != "gaussian":
        raise ParameterError(f"{file}: kind: {table.get('kind')!r} must be 'gaussian'")
    for key, value in table.items():
        if key not in _KEYS:
            raise ParameterError(f"{file}: unknown key {key!r}; known keys: {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            raise ParameterError(f"{file}: {key}: {value!r} is of the wrong type")
    for key in _NEEDED:
        if key not in table:
            raise ParameterError(f"{file}: {key} is missing")
    rate = table.get("sample_rate")
    if rate is not None and not 0 < rate < float("inf"):
        raise ParameterError(f"{file}: sample_rate: {rate!r} must be a positive number of Hz")
    covariance = _weights(path, weights, table["sha256"])["covariance"]
    wanted = (table["period"], table["lags"], 2)
    if tuple(covariance.shape) != wanted or covariance.dtype != torch.float32 or not covariance.numel():
        raise ParameterError(f"{weights}: covariance is {covariance.dtype} of shape {list(covariance.shape)}, but {HEADER} tells "
                             f"of float32 [{table['period']}, {table['lags']}, 2]")
    pairs = covariance.double().numpy()
    try:
        return Gaussian(pairs[..., 0] + 1j * pairs[..., 1], table.get("period_offset"), rate)
    except ParameterError as error:
        where = file if str(error).startswith("period_offset") else weights
        raise ParameterError(f"{where}: {error}") from None


def read_header(path):
    """The table of prior.toml in a folder. Raises ParameterError where it is missing, or no TOML."""
    file = pathlib.Path(path) / HEADER
    try:
        with open(file, "rb") as f:
            return tomllib.load(f)
    except FileNotFoundError:
        for other in sorted(pathlib.Path(path).iterdir()):
            refuse_pickle(other)
        raise ParameterError(f"{file}: no such file; a prior that is a folder holds {HEADER} and {WEIGHTS}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file}: is not TOML: {error}") from None


def _weights(folder, path, sha256):
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
        tensors = load(data)
    except SafetensorError as error:
        raise ParameterError(f"{path}: is no safetensors file: {error}") from None
    if "covariance" not in tensors:
        raise ParameterError(f"{path}: holds no tensor named covariance")
    return tensors


def write_gaussian(prior, folder, provenance=None):
    """Write prior.toml and weights.safetensors of a Gaussian prior into a folder that is there. See save."""
    from safetensors.torch import save as serialise

    folder = pathlib.Path(folder)
    pairs = np.stack([prior.table.real, prior.table.imag], -1).astype(np.float32)
    data = serialise({"covariance": torch.from_numpy(np.ascontiguousarray(pairs))})
    lines = [f"format = {FORMAT}", 'kind = "gaussian"']
    if prior.sample_rate is not None:
        lines.append(f"sample_rate = {float(prior.sample_rate)!r}")
    lines += [f"period = {prior.period}", f"lags = {prior.lags}"]
    if prior.period_offset is not None and prior.period > 1:
        lines.append(f"period_offset = {int(prior.period_offset)}")
    lines.append(f'sha256 = "{hashlib.sha256(data).hexdigest()}"')
    if provenance:
        lines += ["", "[provenance]", *(f"{key} = {_toml(value)}" for key, value in provenance.items())]
    (folder / WEIGHTS).write_bytes(data)
    (folder / HEADER).write_text("\n".join(lines) + "\n", encoding="utf-8")


def save(prior, path, provenance=None, overwrite=False):
    """Write a Gaussian prior as the folder `path`, whole or not at all. provenance: texts and lists of texts.

    Raises RecordingError where it cannot be written (disk full), or is there already and overwrite is False.
    """
    from ..recordings import all_or_nothing

    with all_or_nothing(path, [HEADER, WEIGHTS], overwrite) as folder:
        write_gaussian(prior, folder, provenance)


def _toml(value):
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
