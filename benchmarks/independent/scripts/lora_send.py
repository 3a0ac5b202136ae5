# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa packets by lora_phy: arguments {count, seed, size, spreading_factor, bandwidth, sample_rate}.

Prints the payloads in hex, writes their samples: complex64 [count, samples].
"""
import json
import sys
from unittest import mock

import numpy as np

with mock.patch.dict(sys.modules, {"lora_phy.multi": mock.MagicMock()}):    # needs Python 3.12, not used
    from lora_phy import LoRaTransmitter

arguments = json.loads(sys.argv[1])
sender = LoRaTransmitter(arguments["spreading_factor"], arguments["bandwidth"], arguments["sample_rate"], preamble_len=8,
                         coding_rate=1)
payloads = np.random.default_rng(arguments["seed"]).integers(0, 256, (arguments["count"], arguments["size"]), np.uint8)
np.save(sys.argv[3], np.stack([sender.modulate(sender.encode(payload)) for payload in payloads]).astype(np.complex64))
print(json.dumps([payload.tobytes().hex() for payload in payloads]))
