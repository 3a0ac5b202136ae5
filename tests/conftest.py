# SPDX-License-Identifier: GPL-3.0-or-later
"""One torch thread in each process, as in the engine: two that wait for each other on a busy machine cost tenfold."""
import torch

torch.set_num_threads(1)
