# SPDX-License-Identifier: GPL-3.0-or-later
"""From the [network] table of a prior to an untrained denoiser."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..parsing import shown
from .bursts import BurstDenoiser
from .denoiser import CONDITIONS, Denoiser, Finder, Named, Scheduled
from .diffwave import DiffWave
from .fast import Fast
from .ofdm import OfdmDenoiser
from .supervised import GROUPS, Supervised, UNet, WaveNet

SUPERVISED = ("unet", "wavenet")        # trained on mixtures, and for nothing else
_WORDS = {list: "positive whole numbers", int: "a positive whole number", bool: "true or false"}
_MOST = {"layers": 256, "rounds": 64, "cycle": 16, "channels": 4096, "kernel": 4096, "stride": 4096, "pseudo_lags": 4096}
_ANY = 65535            # the largest number that another key may have
_LONGEST = 256          # layers that are listed
_MOST_WEIGHTS = 2**28   # of a network: 1 GB; the paper's largest has 2^22
_Table = dict[str, Any]


@dataclass(frozen=True)
class _Kind:
    """A kind of network: its keys with their types, those that may be left out, further checks of a table (ParameterError), and
    the denoiser made from a table and a spectrum."""

    keys: Mapping[str, type]
    optional: tuple[str, ...]
    check: Callable[[_Table], None]
    make: Callable[[_Table, Tensor], Named]


def build(table: Mapping[str, Any], bins: int = 512) -> Any:
    """The untrained denoiser that a table describes: kind, and the keys of its network.

    fast takes also pseudo_lags (then a Finder), white (the noise is white) and plain (no filters before and beside the network).
    A diffwave with conditions takes coloured noise. An ofdm without fold has a phase that says nothing. unet and wavenet separate
    in one pass. bins: of the spectrum, which is flat. Raises ParameterError that names the wrong key.
    """
    own = dict(table)
    kind = own.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ParameterError(f"network: kind: {shown(kind)} is not known; one of {', '.join(_KINDS)}")
    _check_keys(kind, own)
    _KINDS[kind].check(own)
    with torch.device("meta"):          # of which nothing is allocated
        weights = sum(value.numel() for value in _KINDS[kind].make(own, torch.ones(1)).state_dict().values())
    if weights > _MOST_WEIGHTS:
        raise ParameterError(f"network: {', '.join(f'{k} {v}' for k, v in own.items())} are {weights} weights; no more than "
                             f"{_MOST_WEIGHTS} are read")
    denoiser = _KINDS[kind].make(own, torch.ones(bins))
    denoiser.table = {"kind": kind, **own}
    return denoiser


def _check_keys(kind: str, table: _Table) -> None:
    keys = _KINDS[kind].keys
    for key, value in table.items():
        if key not in keys:
            raise ParameterError(f"network: unknown key {shown(key)} for kind {kind!r}; known keys: {', '.join(keys)}")
        numbers = [] if keys[key] is bool else value if keys[key] is list else [value]
        if not isinstance(value, keys[key]) or not all(type(v) is int and v > 0 for v in numbers):
            raise ParameterError(f"network: {key}: {shown(value)} must be {_WORDS[keys[key]]}")
        most = _MOST.get(key, _ANY)
        if any(v > most for v in numbers) or len(numbers) > _LONGEST:
            raise ParameterError(f"network: {key}: {shown(value)}: must be no more than {most}" + (
                f", and no more than {_LONGEST} of them" if keys[key] is list else ""))
    for key in keys:
        if key not in table and key not in _KINDS[kind].optional:
            raise ParameterError(f"network: {key} is missing")


def _check_fast(table: _Table) -> None:
    if table["kernel"] < table["stride"] or (table["kernel"] - table["stride"]) % 2:
        raise ParameterError(f"network: kernel: {table['kernel']} must be stride ({table['stride']}) and an even number more")
    _check_conditions(table)


def _check_conditions(table: _Table) -> None:
    if table.get("conditions", CONDITIONS) != CONDITIONS:
        raise ParameterError(f"network: conditions: {table['conditions']} is of another version; this one has {CONDITIONS}")


def _check_ofdm(table: _Table) -> None:
    if table["cyclic_prefix"] > table["fft_size"]:
        raise ParameterError(f"network: cyclic_prefix: {table['cyclic_prefix']} must not exceed fft_size "
                             f"({table['fft_size']})")
    if table.get("fold", 1).bit_count() != 1:
        raise ParameterError(f"network: fold: {table['fold']} must be a power of two")


def _check_unet(table: _Table) -> None:
    if table["kernel"] % 2 == 0:
        raise ParameterError(f"network: kernel: {table['kernel']} must be odd")
    if table["channels"] % GROUPS:
        raise ParameterError(f"network: channels: {table['channels']} must be a multiple of {GROUPS}")
    if table["halvings"] > 16 or table["channels"] << table["halvings"] >= 65536:
        raise ParameterError(f"network: halvings: {table['halvings']} double {table['channels']} channels beyond 65535; take "
                             "fewer")


def _check_wavenet(table: _Table) -> None:
    if table["cycle"] > 16:
        raise ParameterError(f"network: cycle: {table['cycle']} must be no more than 16")


def _fast(table: _Table, spectrum: Tensor) -> Denoiser:
    net = Fast(**{key: value for key, value in table.items() if key not in _KINDS["fast"].optional})
    denoiser = Finder(net, spectrum, table["pseudo_lags"]) if "pseudo_lags" in table else Denoiser(net, spectrum)
    denoiser.coloured = not table.get("white", False)
    denoiser.plain = table.get("plain", False)
    return denoiser


def _diffwave(table: _Table, spectrum: Tensor) -> Named:
    if "conditions" in table:
        return Denoiser(DiffWave(**table), spectrum)
    net = DiffWave(**{key: value for key, value in table.items() if key != "stride"})
    return Scheduled(net, spectrum, table.get("stride", 1))


_KINDS = {
    "fast": _Kind({"stride": int, "kernel": int, "channels": int, "dilations": list, "conditions": int, "pseudo_lags": int,
                   "white": bool, "plain": bool}, ("pseudo_lags", "white", "plain"), _check_fast, _fast),
    "diffwave": _Kind({"channels": int, "layers": int, "cycle": int, "stride": int, "conditions": int},
                      ("channels", "layers", "cycle", "stride", "conditions"), _check_conditions, _diffwave),
    "bursts": _Kind({"rounds": int}, (), lambda table: None, lambda table, spectrum: BurstDenoiser(**table)),
    "ofdm": _Kind({"fft_size": int, "cyclic_prefix": int, "points": int, "fold": int}, ("fold",), _check_ofdm,
                  lambda table, spectrum: OfdmDenoiser(**{"fold": 0} | table, spectrum=spectrum)),
    "unet": _Kind({"channels": int, "halvings": int, "kernel": int}, (), _check_unet,
                  lambda table, spectrum: Supervised(UNet(**table), spectrum)),
    "wavenet": _Kind({"channels": int, "layers": int, "cycle": int}, (), _check_wavenet,
                     lambda table, spectrum: Supervised(WaveNet(**table), spectrum)),
}
