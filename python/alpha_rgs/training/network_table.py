# SPDX-License-Identifier: GPL-3.0-or-later
"""The [network] table of a prior that is to be trained, by the options of `alpha-rgs train`."""
from typing import Any

from ..nets.denoiser import CONDITIONS
from .dataset_builder import DatasetBuilder

NETWORKS = ("fast", "ofdm", "bursts", "diffwave", "unet", "wavenet")


def network_table(data: DatasetBuilder, channels: int, blocks: int | None = None, white: bool = False, colour: bool = False,
                  one_pass: bool = False) -> dict[str, Any]:
    """The table that nets.build takes, for the network and the windows of `data`.

    channels: of its layers. blocks: layers, rounds or halvings; None: the kind's own number. white: fast in white noise alone.
    colour: diffwave in coloured noise too. one_pass: fast, trained on mixtures.
    """
    network = data.network
    if network == "ofdm" and data.carriers is not None:
        return data.carriers[1]
    if network == "bursts":
        return {"kind": network, "rounds": blocks or 3}
    if network == "diffwave":
        table = {"kind": network, "channels": channels, "layers": blocks or 30, "cycle": 10, "stride": data.grid}
        return table | ({"conditions": CONDITIONS} if colour else {})
    if network == "unet":
        return {"kind": network, "channels": channels, "halvings": blocks or 5, "kernel": 101}
    if network == "wavenet":
        return {"kind": network, "channels": channels, "layers": blocks or 30, "cycle": 10}
    return _fast(data, channels, blocks, white, one_pass)


def _fast(data: DatasetBuilder, channels: int, blocks: int | None, white: bool, one_pass: bool) -> dict[str, Any]:
    aligned = data.grid > 1 or data.pseudo is not None
    blocks = blocks or (3 if aligned else 8)
    table = {"kind": "fast", "stride": data.stride, "kernel": data.kernel, "channels": channels,
             "dilations": [1] * blocks if aligned else [2 ** (i % 5) for i in range(blocks)], "conditions": CONDITIONS}
    if one_pass:
        table["plain"] = True
    if data.pseudo is not None:
        table["pseudo_lags"] = data.pseudo.shape[1]
    if white:
        table["white"] = True
    return table
