# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted kinds: frames by one program, read by another. Each makes (what was sent, samples) and reads samples."""
from __future__ import annotations

import pathlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import peers as others
from . import radio
from .peers import Peer, Peers, called

_SLOT = 256                 # bits of AIS
_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Receiver:
    """read(samples, peers): frames that it takes for valid, as the generator names them."""

    name: str
    needs: tuple[Peer, ...]
    read: Callable[[np.ndarray, Peers], list[str]]


@dataclass(frozen=True)
class Kind:
    """make(count, seed, peers): what was sent, and samples of mean power 1 while it is on."""

    description: str                                            # shipped
    sample_rate: float
    frames: int                                                 # of a recording
    generator: str
    needs: tuple[Peer, ...]                                     # of the generator
    make: Callable[[int, int, Peers], tuple[list[str], np.ndarray]]
    receivers: tuple[Receiver, ...]
    offset: float = 0.0                                         # of the carrier at most, cycles per sample


# AIS: payloads by pyais, HDLC and GMSK by GNU Radio, read by direwolf
_AIS_RATE = 48000.0


def _ais(count: int, seed: int, peers: Peers, every: int = 1) -> tuple[list[str], np.ndarray]:
    """Slots of 26.67 ms, of which every first, second, ... has a frame."""
    payloads, _ = peers.script("ais_payloads", {"count": count, "seed": seed})
    on = []
    for payload in payloads:
        code = [ord(c) - 48 for c in payload]
        bits = np.unpackbits(np.array([c - 8 if c > 40 else c for c in code], np.uint8)[:, None], axis=1)[:, 2:].ravel()
        frame = radio.hdlc([np.packbits(bits).tobytes()])
        training = np.arange(24) % 2
        slot = np.concatenate([training, frame])
        on.append(np.concatenate([slot, np.arange(_SLOT - len(slot)) % 2]))
    levels = 1 - np.cumsum(1 - np.concatenate(on)) % 2          # NRZI: a zero changes the level
    samples = radio.gmsk(levels, 5, 0.4)
    slots = np.zeros((count, every, _SLOT * 5), np.complex64)
    slots[:, 0] = samples[:count * _SLOT * 5].reshape(count, -1)
    return payloads, slots.reshape(-1)


def _ais_audio(samples: np.ndarray) -> np.ndarray:
    return radio.discriminated(samples, 7000.0, 2400.0, _AIS_RATE)


def _ais_direwolf(samples: np.ndarray, peers: Peers) -> list[str]:
    return re.findall(r"!AIVD[MO],1,1,,[AB]?,([^,]+),", _atest(_ais_audio(samples), "AIS"))


def _ais_gnuais(samples: np.ndarray, peers: Peers) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        settings, sound = pathlib.Path(folder) / "gnuais.conf", pathlib.Path(folder) / "sound.raw"
        settings.write_text("SoundChannels mono\n")
        sound.write_bytes(_pcm(_ais_audio(samples)).tobytes())
        heard = called(["gnuais", "-c", str(settings), "-l", str(sound), "-e", "DEBUG", "-o", "stderr"], both=True)
    return list(dict.fromkeys(re.findall(r"!AIVDM,1,1,,A,([^,]+),", heard)))     # it reports each several times


def _pcm(audio: np.ndarray) -> np.ndarray:
    return (np.clip(audio / 3, -1, 1) * 32767).astype(np.int16)


def _atest(audio: np.ndarray, baud: str) -> str:
    """What direwolf's atest prints of audio, float32 about 1, at 48 kHz."""
    from scipy.io import wavfile

    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "audio.wav")
        wavfile.write(path, int(_AIS_RATE), _pcm(audio))
        return called(["atest", "-B", baud, path])


# AX.25 at 9600 baud: audio by direwolf's gen_packets, frequency modulation by GNU Radio, read by direwolf's atest
def _ax25(count: int, seed: int, peers: Peers) -> tuple[list[str], np.ndarray]:
    from scipy.io import wavfile

    draw = np.random.default_rng(seed)
    frames = ["".join(draw.choice(list(_NAMES), 6)) + ">APDW16:" + "".join(draw.choice(list(_NAMES), 10)) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        text, path = pathlib.Path(folder) / "frames.txt", str(pathlib.Path(folder) / "frames.wav")
        text.write_text("\n".join(frames) + "\n")
        called(["gen_packets", "-B", "9600", "-r", "48000", "-a", "100", "-o", path, str(text)])
        audio = wavfile.read(path)[1]
    audio = radio.gaussian(audio / np.abs(audio).max(), 5, 0.5)
    return frames, radio.frequency_modulated(audio, 3000.0, _AIS_RATE)


def _ax25_read(samples: np.ndarray, peers: Peers) -> list[str]:
    heard = _atest(radio.discriminated(samples, 8000.0, 3000.0, _AIS_RATE), "9600")
    return re.findall(r"[A-Z]{6}>APDW16:[A-Z]{10}", heard)


# Mode S: ADS-B frames by adsb-generator, read by dump1090
_MODE_S_RATE = 4e6


def _mode_s(count: int, seed: int, peers: Peers) -> tuple[list[str], np.ndarray]:
    frames, waves = peers.script("mode_s_send", {"count": count, "seed": seed, "sample_rate": _MODE_S_RATE})
    draw, parts = np.random.default_rng(seed), []
    assert waves is not None
    for wave in waves:
        gap = np.zeros(int(draw.integers(40, 400)), np.complex64)
        parts += [gap, wave * np.exp(2j * np.pi * draw.random()) * np.sqrt(2)]      # half of a frame is on
    return frames, np.concatenate([*parts, np.zeros(400)]).astype(np.complex64)


def _mode_s_read(samples: np.ndarray, peers: Peers) -> list[str]:
    """Frames whose parity is right, without correction, by dump1090 at its 2.4 MS/s."""
    slow = radio.resampled(samples, 3, 5)
    slow = np.concatenate([slow, np.zeros(400_000, np.complex64)])          # it reads whole blocks
    counts = np.round(np.clip(np.stack([slow.real, slow.imag], 1) / 8, -1, 1) * 32767).astype("<i2")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "samples.sc16"
        path.write_bytes(counts.tobytes())
        heard = called(["dump1090-mutability", "--ifile", str(path), "--iformat", "SC16", "--raw", "--no-fix"])
    return re.findall(r"\*([0-9A-Fa-f]{28});", heard.upper())


# LoRa: packets by lora-phy, read by softlora
_LORA = {"spreading_factor": 7, "bandwidth": 125000.0, "sample_rate": 250000.0}


def _lora(count: int, seed: int, peers: Peers) -> tuple[list[str], np.ndarray]:
    payloads, waves = peers.script("lora_send", {"count": count, "seed": seed, "size": 12, **_LORA})
    assert waves is not None
    gap = np.zeros((count, 600), np.complex64)
    return payloads, np.concatenate([gap, waves], 1).reshape(-1).astype(np.complex64)


def _lora_read(samples: np.ndarray, peers: Peers) -> list[str]:
    return list(peers.script("lora_read", _LORA, samples)[0])


# OFDM packets on the grid of 802.11a, by GNU Radio's transmitter and receiver
_OFDM_BYTES = 96


def _ofdm(count: int, seed: int, peers: Peers) -> tuple[list[str], np.ndarray]:
    payloads = [bytes(p) for p in np.random.default_rng(seed).integers(0, 256, (count, _OFDM_BYTES), np.uint8)]
    made = radio.ofdm_packets(payloads)
    return [p.hex() for p in payloads], (made / np.sqrt(np.mean(np.abs(made) ** 2))).astype(np.complex64)


def _ofdm_read(samples: np.ndarray, peers: Peers) -> list[str]:
    return [p.hex() for p in radio.ofdm_read(np.concatenate([samples, np.zeros(2000, np.complex64)]), _OFDM_BYTES)]


def _ais_bursts(count: int, seed: int, peers: Peers) -> tuple[list[str], np.ndarray]:
    return _ais(count, seed, peers, 2)


_GR = others.GNURADIO
_AIS = (Receiver("direwolf", (_GR, others.ATEST), _ais_direwolf), Receiver("gnuais", (_GR, others.GNUAIS), _ais_gnuais))
_MADE_AIS = ("pyais, GNU Radio", (_GR, others.PYAIS))
KINDS = {
    "AIS": Kind("ais", _AIS_RATE, 16, *_MADE_AIS, _ais, _AIS, 0.002),
    "AIS, every second slot": Kind("ais", _AIS_RATE, 8, *_MADE_AIS, _ais_bursts, _AIS, 0.002),
    "AX.25": Kind("ax25-9600", _AIS_RATE, 8, "direwolf, GNU Radio", (_GR, others.GEN_PACKETS), _ax25,
                  (Receiver("direwolf", (_GR, others.ATEST), _ax25_read),), 0.002),
    "Mode S": Kind("adsb", _MODE_S_RATE, 20, "adsb-generator", (others.ADSB,), _mode_s,
                   (Receiver("dump1090", (_GR, others.DUMP1090), _mode_s_read),), 0.002),
    "LoRa": Kind("lora-sf7", _LORA["sample_rate"], 3, "lora-phy", (others.LORA_PHY,), _lora,
                 (Receiver("softlora", (others.SOFTLORA,), _lora_read),)),
    "OFDM packets": Kind("wifi", 20e6, 16, "GNU Radio", (_GR,), _ofdm, (Receiver("GNU Radio", (_GR,), _ofdm_read),)),
}
