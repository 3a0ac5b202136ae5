# SPDX-License-Identifier: GPL-3.0-or-later
"""ADS-B frames by adsb_generator, no impairment but the transmitter's: arguments {count, seed, sample_rate}.

Prints the frames in hex, writes their samples one after another, each of amplitude 1: complex64 [count, samples].
"""
import json
import sys

import numpy as np
from adsb_generator import ADSBGenerator, TXParams

arguments = json.loads(sys.argv[1])
generator = ADSBGenerator(sample_rate=arguments["sample_rate"], seed=arguments["seed"],
                          tx_params_distributions={TXParams.AMPLITUDE: [[1.0, 1.0, 1.0]]})
frames = generator.generate(arguments["count"])
np.save(sys.argv[3], np.stack([frame.transmitted_signal for frame in frames]).astype(np.complex64))
print(json.dumps([f"{frame.message:028X}" for frame in frames]))
