# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa packets read by softlora: arguments {spreading_factor, bandwidth, sample_rate}; prints payloads of valid CRC."""
import json
import sys

import numpy as np
from softlora import LoRaDecoder

arguments = json.loads(sys.argv[1])
decoder = LoRaDecoder(arguments["spreading_factor"], arguments["bandwidth"], arguments["sample_rate"], 868.1e6)
packets = decoder.decode_iq(np.load(sys.argv[2]))
print(json.dumps([bytes(packet.payload_bytes).hex() for packet in packets if packet.ok and packet.crc_valid]))
