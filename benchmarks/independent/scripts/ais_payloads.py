# SPDX-License-Identifier: GPL-3.0-or-later
"""Position reports (AIS message 1) by pyais: arguments {count, seed}; prints their armoured payloads."""
import json
import random
import sys

from pyais import encode_dict

arguments = json.loads(sys.argv[1])
draw, payloads = random.Random(arguments["seed"]), []
for _ in range(arguments["count"]):
    report = {"type": 1, "mmsi": str(draw.randrange(200_000_000, 800_000_000)), "lat": draw.uniform(-80, 80),
              "lon": draw.uniform(-180, 180), "course": draw.uniform(0, 359), "speed": draw.uniform(0, 40)}
    payloads.append(encode_dict(report)[0].split(",")[5])
print(json.dumps(payloads))
