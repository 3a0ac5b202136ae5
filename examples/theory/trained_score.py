# SPDX-License-Identifier: GPL-3.0-or-later
"""What an imperfect score costs the published iteration: the OFDM's denoiser exact, and with a frozen error of -25 and -20 dB.

The paper's curve "analytic SOI" has a trained network for the OFDM. Here the exact denoiser gets an error of given power added,
drawn once per window (a network errs the same way whenever it sees the same), at every level. Bit error rates of the whole
window and of its interior (16 symbols of each side off).
"""
import argparse

import torch
from alpha_rgs import separate
from alpha_rgs.sources import Ofdm
from alpha_rgs.sources.mixtures import draw_case, paper_case
from alpha_rgs.synchronization import acquire


class Erring(Ofdm):
    """OFDM whose denoiser adds a fixed error of `power` per sample."""

    power, generator = 0.0, None

    def denoise(self, x, noise):
        """See Source.denoise."""
        if getattr(self, "error", None) is None:
            self.error = self.power ** 0.5 * torch.randn(x.shape, dtype=torch.complex64, generator=self.generator)
        return super().denoise(x, noise) + self.error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sir-db", type=float, default=-12)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=20000)
    parser.add_argument("--errors-db", default="exact,-25,-20", help="of the denoiser, per sample of a source of unit power")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    soi, ofdm = paper_case("ofdm-qpsk")
    mixture = draw_case("ofdm-qpsk", given.windows, given.sir_db, seed=given.seed)
    found, kappa, noise_var, _ = acquire(mixture.y, soi, ofdm)
    for error in given.errors_db.split(","):
        prior = Erring(found.signal, found.frame_offset, found.phase)
        prior.power = 0.0 if error == "exact" else 10 ** (float(error) / 10)
        prior.generator = torch.Generator().manual_seed(given.seed)
        out = separate(mixture.y, soi, prior, "alpha_rgs", preset="paper", iterations=given.iterations, kappa=kappa,
                       noise_var=noise_var)
        wrong = (soi.signal.alphabet.slice(out.symbols) != mixture.bits).float()
        print(f"{given.sir_db:g} dB, error {error:>5}: {float(wrong.mean()):.1e}, interior {float(wrong[:, 32:-32].mean()):.1e}",
              flush=True)
