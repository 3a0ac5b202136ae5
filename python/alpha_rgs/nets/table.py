# SPDX-License-Identifier: GPL-3.0-or-later
"""From the [network] table of a prior to an untrained denoiser."""
import torch

from ..errors import ParameterError
from .bursts import BurstDenoiser
from .denoiser import CONDITIONS, Denoiser, Finder, Scheduled
from .diffwave import DiffWave
from .fast import Fast
from .ofdm import OfdmDenoiser
from .supervised import GROUPS, Supervised, UNet, WaveNet

_OPTIONAL = ("pseudo_lags", "white", "plain")       # keys of fast
_NETS = {"fast": (Fast, {"stride": int, "kernel": int, "channels": int, "dilations": list, "conditions": int,
                         "pseudo_lags": int, "white": bool, "plain": bool}),
         "diffwave": (DiffWave, {"channels": int, "layers": int, "cycle": int, "stride": int, "conditions": int}),
         "bursts": (BurstDenoiser, {"rounds": int}),
         "ofdm": (OfdmDenoiser, {"fft_size": int, "cyclic_prefix": int, "points": int, "fold": int}),
         "unet": (UNet, {"channels": int, "halvings": int, "kernel": int}),
         "wavenet": (WaveNet, {"channels": int, "layers": int, "cycle": int})}
SUPERVISED = ("unet", "wavenet")        # trained on mixtures, and for nothing else


def build(table, bins=512):
    """The untrained denoiser that a table describes: kind, and the keys of its network; for fast also pseudo_lags (a Finder),
    white (it takes no colour) and plain (no filters before and beside the network); a diffwave with conditions takes colour; of
    an ofdm without fold the phase tells nothing; unet and wavenet are for one pass. ParameterError names the wrong key."""
    table = dict(table)
    kind = table.pop("kind", None)
    if kind not in tuple(_NETS):
        raise ParameterError(f"network: kind: {kind!r} is not known; one of {', '.join(_NETS)}")
    net, keys = _NETS[kind]
    for key, value in table.items():
        if key not in keys:
            raise ParameterError(f"network: unknown key {key!r} for kind {kind!r}; known keys: {', '.join(keys)}")
        numbers = [] if keys[key] is bool else value if keys[key] is list else [value]
        if not isinstance(value, keys[key]) or not all(type(v) is int and 0 < v < 65536 for v in numbers):
            what = {list: "positive whole numbers", int: "a positive whole number", bool: "true or false"}[keys[key]]
            raise ParameterError(f"network: {key}: {value!r} must be {what}")
    missing = [key for key in keys if key not in table and key not in (*_OPTIONAL, "fold")]
    if missing and kind != "diffwave":
        raise ParameterError(f"network: {missing[0]} is missing")
    if kind == "fast":
        if table["kernel"] < table["stride"] or (table["kernel"] - table["stride"]) % 2:
            raise ParameterError(f"network: kernel: {table['kernel']} must be stride ({table['stride']}) and an even number more")
    if kind in SUPERVISED:
        if kind == "unet" and table["kernel"] % 2 == 0:
            raise ParameterError(f"network: kernel: {table['kernel']} must be odd")
        if kind == "unet" and table["channels"] % GROUPS:
            raise ParameterError(f"network: channels: {table['channels']} must be a multiple of {GROUPS}")
        if kind == "unet" and (table["halvings"] > 16 or table["channels"] << table["halvings"] >= 65536):
            raise ParameterError(f"network: halvings: {table['halvings']} double {table['channels']} channels beyond 65535; take "
                                 "fewer")
        if kind == "wavenet" and table["cycle"] > 16:
            raise ParameterError(f"network: cycle: {table['cycle']} must be no more than 16")
        denoiser = Supervised(net(**table), torch.ones(bins))
        denoiser.table = {"kind": kind, **table}
        return denoiser
    if kind == "bursts":
        denoiser = BurstDenoiser(**table)
        denoiser.table = {"kind": kind, **table}
        return denoiser
    if kind == "ofdm":
        if table["cyclic_prefix"] > table["fft_size"]:
            raise ParameterError(f"network: cyclic_prefix: {table['cyclic_prefix']} must not exceed fft_size "
                                 f"({table['fft_size']})")
        if table.get("fold", 1).bit_count() != 1:
            raise ParameterError(f"network: fold: {table['fold']} must be a power of two")
        denoiser = OfdmDenoiser(**{"fold": 0} | table, spectrum=torch.ones(bins))
        denoiser.table = {"kind": kind, **table}
        return denoiser
    if table.get("conditions", CONDITIONS) != CONDITIONS:
        raise ParameterError(f"network: conditions: {table['conditions']} is of another version; this one has {CONDITIONS}")
    own = _OPTIONAL if kind == "fast" else () if "conditions" in table else ("stride",)
    network, rest = net(**{key: value for key, value in table.items() if key not in own}), torch.ones(bins)
    if kind == "diffwave" and "conditions" not in table:
        denoiser = Scheduled(network, rest, table.get("stride", 1))
    else:
        denoiser = Finder(network, rest, table["pseudo_lags"]) if "pseudo_lags" in table else Denoiser(network, rest)
    denoiser.table = {"kind": kind, **table}
    denoiser.coloured = denoiser.coloured and not table.get("white", False)
    denoiser.plain = table.get("plain", False)
    return denoiser
