# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of samples by name: receivers through UHD or SoapySDR, recordings, and a simulation; for the other examples."""

import pathlib

from gnuradio import blocks, gr

DRIVERS = {"rtl": "rtlsdr", "hackrf": "hackrf", "airspy": "airspy", "lime": "lime", "pluto": "plutosdr"}
HELP = f"uhd, {', '.join(DRIVERS)} (SoapySDR), soapy:DRIVER, simulated, or a file of complex float32"


def add_arguments(parser):
    """What source() needs, as options of a command."""
    parser.add_argument("--source", default="simulated", help=HELP)
    parser.add_argument("--samp-rate", type=float, default=2.4e6, help="samples per second")
    parser.add_argument("--freq", type=float, default=137.1e6, help="centre frequency of a receiver, Hz")
    parser.add_argument("--gain", type=float, default=30.0, help="of a receiver, dB")
    parser.add_argument("--seconds", type=float, default=0.0, help="after which to stop; 0: never, or at the end of the file")


def source(args):
    """A source of complex samples: a block that is connected to nothing. Raises ValueError where there is none."""
    kind = args.source
    if kind == "simulated":
        return simulation(args.samp_rate)
    if kind == "uhd":
        return _uhd(args)
    if kind in DRIVERS or kind.startswith("soapy:"):
        return _soapy(args, DRIVERS.get(kind, kind.removeprefix("soapy:")))
    if not pathlib.Path(kind).is_file():
        raise ValueError(f"--source: {kind} is neither a file nor {HELP}")
    return blocks.file_source(gr.sizeof_gr_complex, kind)


class simulation(gr.hier_block2):
    """QPSK under OFDM 10 dB stronger, without end, at that many samples per second; neither is synchronised with the receiver."""

    def __init__(self, samp_rate, sir_db=-10.0, snr_db=20.0, seed=1):
        from mixture import mixture

        gr.hier_block2.__init__(self, "simulation", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex))
        signals, turn = mixture(2**40, sir_db, snr_db, seed, repeat=True), blocks.rotator_cc(0.01)
        self.connect(signals, turn, blocks.throttle(gr.sizeof_gr_complex, samp_rate), self)


def _uhd(args):
    from gnuradio import uhd

    try:
        made = uhd.usrp_source("", uhd.stream_args("fc32"))
    except RuntimeError as error:
        raise ValueError(f"--source uhd: {error}") from None
    made.set_samp_rate(args.samp_rate)
    made.set_center_freq(args.freq)
    made.set_gain(args.gain)
    return made


def _soapy(args, driver):
    from gnuradio import soapy

    try:
        made = soapy.source(f"driver={driver}", "fc32", 1, "", "", [""], [""])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--source {args.source}: {error}") from None
    made.set_sample_rate(0, args.samp_rate)
    made.set_frequency(0, args.freq)
    made.set_gain(0, args.gain)
    return made
