# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals by GNU Radio's own blocks: modulators, filters, resamplers, and its OFDM packets. GNU Radio is imported when called."""
from __future__ import annotations

import time
from typing import Any

import numpy as np

_SETTLED = 0.3              # s without a new item: a block that ends by no tag is done


def flow(samples: np.ndarray, *blocks: Any) -> np.ndarray:
    """Samples (uint8, float32 or complex64) through a chain of blocks, the last one complex: complex64."""
    from gnuradio import blocks as gr_blocks
    from gnuradio import gr

    ends = {np.dtype(np.uint8): "b", np.dtype(np.float32): "f", np.dtype(np.complex64): "c"}
    top = gr.top_block()
    source = getattr(gr_blocks, f"vector_source_{ends[samples.dtype]}")(samples.tolist())
    sink = gr_blocks.vector_sink_c()
    top.connect(source, *blocks, sink)
    top.run()
    return np.array(sink.data(), np.complex64)


def gmsk(bits: np.ndarray, samples_per_symbol: int, bandwidth_time: float) -> np.ndarray:
    from gnuradio import digital

    return flow(bits.astype(np.uint8), digital.gmsk_mod(samples_per_symbol, bandwidth_time, do_unpack=False))


def frequency_modulated(audio: np.ndarray, hz_per_unit: float, sample_rate: float) -> np.ndarray:
    from gnuradio import analog

    return flow(audio.astype(np.float32), analog.frequency_modulator_fc(2 * np.pi * hz_per_unit / sample_rate))


def gaussian(audio: np.ndarray, samples_per_symbol: int, bandwidth_time: float) -> np.ndarray:
    """Audio through a Gaussian filter of unit gain."""
    from gnuradio import filter as gr_filter

    taps = gr_filter.firdes.gaussian(1.0, samples_per_symbol, bandwidth_time, 4 * samples_per_symbol)
    return flow(audio.astype(np.complex64), gr_filter.fir_filter_ccf(1, taps)).real / sum(taps)


def discriminated(samples: np.ndarray, cutoff: float, deviation: float, sample_rate: float) -> np.ndarray:
    """Frequency over the deviation, after a low-pass filter: what a receiver's discriminator output gives, float32."""
    from gnuradio import analog, blocks
    from gnuradio import filter as gr_filter

    taps = gr_filter.firdes.low_pass(1.0, sample_rate, cutoff, cutoff / 4)
    narrow = flow(samples, gr_filter.fir_filter_ccf(1, taps), analog.quadrature_demod_cf(1.0), blocks.float_to_complex())
    return (narrow.real * sample_rate / (2 * np.pi * deviation)).astype(np.float32)


def resampled(samples: np.ndarray, up: int, down: int) -> np.ndarray:
    from gnuradio import filter as gr_filter

    return flow(samples, gr_filter.rational_resampler_ccc(up, down, [], 0.4))


def qpsk(samples: int, samples_per_symbol: int, rolloff: float, seed: int) -> np.ndarray:
    """Random QPSK with root-raised-cosine pulses, unit mean power, timing at random."""
    from gnuradio import digital
    from gnuradio import filter as gr_filter

    draw = np.random.default_rng(seed)
    data = draw.integers(0, 256, samples // samples_per_symbol // 4 + 64).astype(np.uint8)
    constellation = digital.constellation_qpsk().base()
    made = flow(data, digital.generic_mod(constellation, samples_per_symbol=samples_per_symbol, excess_bw=rolloff),
                gr_filter.mmse_resampler_cc(float(draw.random()), 1.0))
    return _cut(made, samples, 32 * samples_per_symbol + int(draw.integers(samples_per_symbol)))


def ofdm(samples: int, seed: int) -> np.ndarray:
    """Random OFDM-QPSK, 64 carriers less guards (4, 3) and DC, prefix 16, unit mean power."""
    from gnuradio import blocks, digital, fft, gr

    carriers = [c for c in range(-28, 29) if c]
    count, draw = samples // 80 + 3, np.random.default_rng(seed)
    symbols = draw.choice(np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]), count * len(carriers)).astype(np.complex64)
    top, sink = gr.top_block(), blocks.vector_sink_c()
    top.connect(blocks.vector_source_c(symbols.tolist()), blocks.stream_to_tagged_stream(8, 1, len(carriers), "n"),
                digital.ofdm_carrier_allocator_cvc(64, [carriers], [[]], [[]], [], "n"),
                fft.fft_vcc(64, False, [], True), digital.ofdm_cyclic_prefixer(64, 80, 0, "n"), sink)
    top.run()
    return _cut(np.array(sink.data(), np.complex64), samples, int(draw.integers(80)))


def _cut(made: np.ndarray, samples: int, start: int) -> np.ndarray:
    part = made[start:start + samples]
    return (part / np.sqrt(np.mean(np.abs(part) ** 2))).astype(np.complex64)


def hdlc(payloads: list[bytes]) -> np.ndarray:
    """Frames with flags, bit stuffing and checksum, as bits. The framer never ends by itself."""
    import pmt
    from gnuradio import blocks, digital, gr

    top, framer, sink = gr.top_block(), digital.hdlc_framer_pb("n"), blocks.vector_sink_b()
    top.connect(framer, sink)
    for payload in payloads:
        framer.to_basic_block()._post(pmt.intern("in"), pmt.cons(pmt.PMT_NIL, pmt.init_u8vector(len(payload), list(payload))))
    top.start()
    _wait(sink)
    top.stop()
    top.wait()
    return np.array(sink.data(), np.uint8)


def _wait(sink: Any) -> None:
    """Until no more items come."""
    before = -1
    while before != len(sink.data()):
        before = len(sink.data())
        time.sleep(_SETTLED)


def ofdm_packets(payloads: list[bytes]) -> np.ndarray:
    """GNU Radio's OFDM packets of QPSK, with synchronization words, header and CRC-32, back to back."""
    from gnuradio import blocks, digital, gr

    data = [byte for payload in payloads for byte in payload]
    top, sink = gr.top_block(), blocks.vector_sink_c()
    top.connect(blocks.vector_source_b(data), blocks.stream_to_tagged_stream(1, 1, len(payloads[0]), "n"),
                digital.ofdm_tx(packet_length_tag_key="n", bps_payload=2), sink)
    top.run()
    return np.array(sink.data(), np.complex64)


def ofdm_read(samples: np.ndarray, size: int) -> list[bytes]:
    """Payloads of `size` bytes with a valid CRC-32, by GNU Radio's OFDM receiver."""
    from gnuradio import blocks, digital, gr

    top, sink = gr.top_block(), blocks.vector_sink_b()
    top.connect(blocks.vector_source_c(samples.tolist()), digital.ofdm_rx(packet_length_tag_key="n", bps_payload=2), sink)
    top.start()
    _wait(sink)
    top.stop()
    top.wait()
    data = bytes(sink.data())
    return [data[i:i + size] for i in range(0, len(data), size)]
