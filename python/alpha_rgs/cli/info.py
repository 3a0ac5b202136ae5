# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs info: what a recording holds, or what a prior file means."""
import pathlib
from typing import Annotated

import typer

from .common import Datatype, SampleRate, print_table, prior_of


def info(
    file: Annotated[pathlib.Path, typer.Argument(metavar="FILE", help="A recording, or a prior (.toml, or a folder).")],
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
) -> None:
    """Report what a recording holds, or what a prior file means and what will be estimated."""
    from ..io import recordings
    from ..streaming import report

    if file.suffix == ".toml" or file.is_dir():
        prior, given = prior_of(file)
        print_table(report.prior_table(prior, given), str(file))
    else:
        print_table(report.recording_table(recordings.load(file, datatype, sample_rate)))
