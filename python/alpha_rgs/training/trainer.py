# SPDX-License-Identifier: GPL-3.0-or-later
"""Training a denoiser: the loop, its state on the disk, and several processes.

The loss is the denoising error relative to what it lately was at such a signal-to-noise ratio, so that every level is driven
down in decibels alike, from where decisions are clear to where all is drowned.
"""
import contextlib
import json
import math
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError, RecordingError
from . import datasets

_FORMAT = 1
_BINS, _LEAST, _MEMORY = 64, 1e-5, 0.98     # of the running errors: count, in units of the source's power, weight of the past
_LOW, _HIGH = -3.5, 5.5                     # decades of signal-to-noise ratio that they cover
_CLIP = 1.0
_HALVED = 3                                 # a window is as long as asked for, half, or a quarter of it


@dataclass
class Settings:
    """batch: windows per step and process. rate: of Adam, peak; warm up over the first 2 % of steps, then a half cosine to 0.
    average: of the weights, memory in steps. coloured: also noise of random colour. precision: float32 or bfloat16."""

    steps: int = 4000
    batch: int = 64
    rate: float = 3e-3
    average: float = 300.0
    coloured: bool = True
    precision: str = "float32"
    seed: int = 0
    checkpoint: int = 500


@dataclass
class Progress:
    """step: done so far; loss: mean of the relative errors; error_db: mean of the error in dB since the last report; seconds
    of training, over all sittings."""

    step: int
    loss: float
    error_db: float
    seconds: float


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)      # Ctrl-C, a batch system, a terminal that closes


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """What ends the process waits until what is inside is done: half a step of the optimizer cannot be resumed. A second signal
    does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def wait(number: int, *_: Any) -> None:
        if came:
            _end(number, before[number])
        came.append(number)

    before: dict[int, Any] = {int(number): signal.signal(number, wait) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        _end(came[0], before[came[0]])


def _end(number: int, handler: Any) -> None:
    """What a signal does: by its handler, or, where it has none, an exception, so that a checkpoint is written."""
    if callable(handler):
        handler(number, None)
    elif handler != signal.SIG_IGN:
        raise SystemExit(128 + number)


class Trainer:
    """denoiser: trained in place; average: its running mean, which is what is kept. source, noise (default: Gaussian): as in
    datasets.py. folder: of the checkpoint. Goes on from a checkpoint that is there; ParameterError if it is another's."""

    def __init__(self, denoiser: Any, source: Any, settings: Settings, folder: str | os.PathLike[str],
                 device: str | torch.device = "cpu", about: str = "", noise: Any = None) -> None:
        self.device, self.settings, self.source = torch.device(device), settings, source
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.denoiser, self.path = denoiser.to(self.device), pathlib.Path(folder) / f"checkpoint{self.rank or ''}.safetensors"
        self.about = json.dumps({"settings": asdict(settings), "source": about}, sort_keys=True)
        self.parameters = dict(self.denoiser.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=settings.rate, betas=(0.9, 0.99))
        self.generator = torch.Generator().manual_seed(settings.seed * 1000 + self.rank)
        self.errors = torch.full((2, _BINS), math.nan)
        self.step, self.seconds = 0, 0.0
        self.history: list[Progress] = []
        self.noise = noise or datasets.GaussianNoise(self.denoiser.spectrum.cpu(), settings.coloured)
        lead = self.path.with_name("checkpoint.safetensors")
        if lead.exists():
            self._restore(lead)

    def run(self, progress: Callable[[Progress], None] | None = None, every: int = 50) -> None:
        """Train to the last step; progress(Progress) now and then. On KeyboardInterrupt and SystemExit (SIGTERM) a checkpoint is
        written and it is raised on; the same command goes on from there."""
        losses: list[float] = []
        decibels: list[float] = []
        began = time.perf_counter() - self.seconds
        try:
            while self.step < self.settings.steps:
                with _uninterrupted():
                    loss, error = self._step()
                losses.append(loss)
                decibels.append(error)
                self.seconds = time.perf_counter() - began
                if self.step % every == 0 or self.step == self.settings.steps:
                    now = Progress(self.step, sum(losses) / len(losses), sum(decibels) / len(decibels), self.seconds)
                    losses, decibels = [], []
                    self.history.append(now)
                    if progress:
                        progress(now)
                if self.step % self.settings.checkpoint == 0:
                    self.save()
        except (KeyboardInterrupt, SystemExit):
            self.save()
            raise
        self.save()

    def _step(self) -> tuple[float, float]:
        """One step: (mean relative error, mean error in dB)."""
        settings, g = self.settings, self.generator
        batch = self.source.draw(settings.batch, g)
        if self.denoiser.finds:                     # shorter ones too, which say less about where the source lies
            batch = batch.first(self.source.samples >> int(torch.randint(0, _HALVED, (1,), generator=g)))
        noise, density, coloured = self.noise.draw(settings.batch, batch.s.shape[1], g)
        x = batch.s + noise
        there = (batch.presence > 0).float()
        ratio = torch.log10((self.denoiser.spectrum.cpu() / density).mean(1))
        s, x, there, density, fraction, presence = (
            v.to(self.device) for v in (batch.s, x * there, there, density, batch.fraction, batch.presence))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            mean = self.denoiser(x, density, fraction, presence)
        weight = there * self.denoiser.weight(density)
        error = ((mean - s).abs().square() * weight).sum(1) / there.sum(1).clamp_min(1)
        where = (((ratio - _LOW) / (_HIGH - _LOW)).clamp(0, 1) * (_BINS - 1)).round().long(), coloured.long()
        relative = error / (self._expected(*where, error.detach().cpu()) + _LEAST).to(self.device)
        loss = relative.mean()
        rate = settings.rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.world > 1:
            for p in self.parameters.values():
                torch.distributed.all_reduce(p.grad)
                p.grad /= self.world
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
        if not math.isfinite(float(norm)):          # before the weights take it up: the last checkpoint stays good
            raise ParameterError(f"training diverged at step {self.step + 1}: the gradient is not finite; give a smaller --rate")
        self.optimizer.step()
        self.step += 1
        keep = min(1 - 1 / settings.average, self.step / (self.step + 10))
        with torch.no_grad():
            for name, p in self.parameters.items():
                self.average[name].lerp_(p, 1 - keep)
        return loss.item(), float(10 * torch.log10(error.detach() + 1e-9).mean())

    def _expected(self, bins: Tensor, row: Tensor, error: Tensor) -> Tensor:
        """The error that is usual there [batch], after taking in this batch's."""
        usual = self.errors[row, bins]
        self.errors[row, bins] = torch.where(usual.isnan(), error, _MEMORY * usual + (1 - _MEMORY) * error)
        return self.errors[row, bins]

    def _schedule(self) -> float:
        done = self.step / max(self.settings.steps, 1)
        return min(1.0, (self.step + 1) / (0.02 * self.settings.steps + 1)) * 0.5 * (1 + math.cos(math.pi * done))

    def finished(self) -> Any:
        """The denoiser with its averaged weights, on the processor."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(self.average[name])
        return self.denoiser.cpu().eval()

    def save(self) -> None:
        """Write the checkpoint; the last one stays until the new one is whole. RecordingError where it cannot be written."""
        from safetensors.torch import save

        state = {f"average.{name}": v for name, v in self.average.items()}
        for name, p in self.parameters.items():
            state[f"weight.{name}"] = p.detach()
            for key, value in self.optimizer.state.get(p, {}).items():
                state[f"adam.{key}.{name}"] = value
        state |= {"generator": self.generator.get_state(), "errors": self.errors,
                  "history": torch.tensor([astuple(p) for p in self.history], dtype=torch.float64).reshape(-1, 4),
                  "spent": torch.tensor([self.step, self.seconds], dtype=torch.float64)}
        state = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
        new = self.path.with_suffix(".new")
        try:
            new.write_bytes(save(state, {"format": str(_FORMAT), "about": self.about}))
            os.replace(new, self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise RecordingError(f"{self.path}: cannot be written: {error.strerror or error}; the checkpoint before it is left "
                                 "as it was") from None

    def _read(self, path: pathlib.Path) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as f:
                about, state = f.metadata() or {}, {key: f.get_tensor(key) for key in f.keys()}
        except (SafetensorError, OSError) as error:
            raise ParameterError(f"{path}: is no checkpoint: {error}; remove it to begin anew") from None
        if about.get("about") != self.about:
            raise ParameterError(f"{path}: is a checkpoint of other settings or another source; give the command that it "
                                 "was begun with, or remove it to begin anew")
        wanted = {f"{kind}.{name}": p.shape for name, p in self.parameters.items() for kind in ("weight", "average")}
        if not all(key in state and state[key].shape == shape for key, shape in wanted.items()):
            raise ParameterError(f"{path}: is a checkpoint of another network, or not whole; remove it to begin anew")
        return state

    def _restore(self, lead: pathlib.Path) -> None:
        """lead: the first process's checkpoint. The others were perhaps stopped a step sooner or later than it: of theirs only
        the generator and the running errors go on."""
        state = self._read(lead)
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state[f"weight.{name}"])
                self.average[name].copy_(state[f"average.{name}"])
                self.optimizer.state[p] = {key: state[f"adam.{key}.{name}"].to(p.device if key != "step" else "cpu")
                                           for key in ("step", "exp_avg", "exp_avg_sq") if f"adam.{key}.{name}" in state}
        self.step, self.seconds = int(state["spent"][0]), float(state["spent"][1])
        self.history = [Progress(int(row[0]), *row[1:]) for row in state["history"].tolist()] if "history" in state else []
        if self.path == lead or self.path.exists():
            own = state if self.path == lead else self._read(self.path)
            self.generator.set_state(own["generator"])
            self.errors = own["errors"]
