# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QPSK signal under OFDM interference, made by GNU Radio's own blocks alone, and their demodulator."""

import numpy as np
from gnuradio import blocks, channels, digital, fft, filter, gr

SPS, ROLLOFF, TIMING = 16, 0.5, 5  # TIMING: samples to the first symbol's centre, as in qpsk.toml
FFT, PREFIX = 64, 16
REPEATED = 2**16  # bytes of four symbols
CARRIERS = [*range(-28, 0), *range(1, 29)]


def constellation():
    """QPSK of unit power whose symbol k carries the bits of k: 0 on the positive side, in-phase bit first."""
    points = [1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]
    return digital.constellation_calcdist(points, [], 4, 1, digital.constellation.AMPLITUDE_NORMALIZATION)


class mixture(gr.hier_block2):
    """Out 0: `samples` samples of QPSK, sir_db (dB) stronger than OFDM, and noise snr_db (dB) under the QPSK per sample.

    `sent`: the QPSK symbols' numbers, uint8; one symbol is 16 samples. All of it follows from the seed, the OFDM's frame
    offset and phase too. repeat: after so many symbols they come again.
    """

    def __init__(self, samples, sir_db=-12.0, snr_db=20.0, seed=1, repeat=False):
        gr.hier_block2.__init__(self, "mixture", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex))
        random = np.random.default_rng(seed)
        data = random.integers(0, 256, REPEATED if repeat else samples // (4 * SPS) + 64, dtype=np.uint8)
        self.sent = np.stack([data >> shift & 3 for shift in (6, 4, 2, 0)], 1).ravel()
        modulator = digital.generic_mod(constellation(), differential=False, samples_per_symbol=SPS, pre_diff_code=False,
                                        excess_bw=ROLLOFF, truncate=True)  # unit power, as are the points

        payload = random.integers(0, 4, 14 * len(CARRIERS) * 256, dtype=np.uint8)
        interference = [
            blocks.vector_source_b(payload.tolist(), True),
            digital.chunks_to_symbols_bc(constellation().points()),
            blocks.stream_to_tagged_stream(gr.sizeof_gr_complex, 1, 14 * len(CARRIERS), "frame"),
            digital.ofdm_carrier_allocator_cvc(FFT, [CARRIERS], [()], [()], [], "frame"),
            fft.fft_vcc(FFT, False, (), True),
            digital.ofdm_cyclic_prefixer(FFT, FFT + PREFIX, 0, "frame"),
            blocks.tag_gate(gr.sizeof_gr_complex, False),
            blocks.skiphead(gr.sizeof_gr_complex, int(random.integers(FFT + PREFIX))),
            # The transform gives len(CARRIERS) times unit power.
            blocks.multiply_const_cc(10 ** (-sir_db / 20) / np.sqrt(len(CARRIERS)) * np.exp(2j * np.pi * random.random())),
        ]
        add = blocks.add_cc()
        channel = channels.channel_model(10 ** (-snr_db / 20), 0.0, 1.0, [1.0], int(random.integers(1, 2**31)))
        self.connect(blocks.vector_source_b(data.tolist(), repeat), modulator, (add, 0))
        self.connect(*interference, (add, 1))
        self.connect(add, channel, blocks.head(gr.sizeof_gr_complex, samples), self)


class demodulator(gr.hier_block2):
    """In: complex samples. Out 0: the QPSK symbols' numbers (bytes), out 1: the symbols before the decision."""

    def __init__(self):
        gr.hier_block2.__init__(self, "demodulator", gr.io_signature(1, 1, gr.sizeof_gr_complex),
                                gr.io_signature.makev(2, 2, [gr.sizeof_char, gr.sizeof_gr_complex]))
        taps = filter.firdes.root_raised_cosine(1.0, SPS, 1.0, ROLLOFF, 10 * SPS + 1)
        peak = TIMING + len(taps) // 2  # where the first symbol's centre leaves the matched filter
        align = blocks.delay(gr.sizeof_gr_complex, -peak % SPS)
        symbols = blocks.skiphead(gr.sizeof_gr_complex, -(-peak // SPS))
        self.connect(self, align, filter.fir_filter_ccf(SPS, taps), symbols)
        self.connect(symbols, digital.constellation_decoder_cb(constellation().base()), (self, 0))
        self.connect(symbols, (self, 1))


def bit_error_rate(decided, sent):
    """Of symbol numbers (two bits each), as far as both reach."""
    count = min(len(decided), len(sent))
    wrong = np.asarray(decided[:count], np.uint8) ^ np.asarray(sent[:count], np.uint8)
    return int(np.unpackbits(wrong).sum()) / (2 * count)
