# SPDX-License-Identifier: GPL-3.0-or-later
"""One damped Gauss-Newton step of a few real parameters, and their standard deviations."""
from torch import Tensor, diag_embed, linalg, maximum, minimum


def damped_step(gram: Tensor, right: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """(step, standard deviations), real [..., n], of parameters known beforehand to about `limit` [n], which no step exceeds.

    gram: Re(JᴴJ)/noise_var, real [..., n, n]; right: Re(Jᴴr)/noise_var, [..., n], J the derivatives of the model, r what it
    leaves, complex; so the log-likelihood bends by 2·gram.
    """
    prior = diag_embed(1 / limit.square()).expand(gram.shape)
    step = linalg.solve(gram + prior, right[..., None])[..., 0]
    return maximum(minimum(step, limit), -limit), linalg.inv(2 * gram + prior).diagonal(dim1=-2, dim2=-1).sqrt()
