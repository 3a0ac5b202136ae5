# SPDX-License-Identifier: GPL-3.0-or-later
"""One torch thread in each process, as in the engine: two that wait for each other on a busy machine cost tenfold. Hypothesis
draws the same examples in each run."""
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("fixed", derandomize=True, database=None)
settings.load_profile("fixed")
