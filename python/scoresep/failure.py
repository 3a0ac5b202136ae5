# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that ended a flowgraph: kept for who asks, and the program's exit status where nobody does.

GNU Radio's run() returns as if all was well. A program in which a separator ended its flowgraph by an error therefore exits with
status EXIT_STATUS, unless it has read that separator's `error`: then it is the program's own affair.
"""

import atexit
import logging
import os
import sys
import traceback

EXIT_STATUS = 1
_unseen = set()  # of id(Failure): the errors themselves are freed with their blocks


class Failure:
    """An exception that ended a flowgraph.

    Where it was raised is kept as a note, in words: the frames themselves hold the block, and with it the shared memory of its
    flowgraph.
    """

    def __init__(self, error):
        if not isinstance(error, ValueError):  # those say themselves what is wrong
            error.add_note("".join(traceback.format_tb(error.__traceback__)).rstrip())
        _forget_frames(error)
        self.error = error
        _unseen.add(id(self))

    def see(self):
        """The exception; the exit status is left to who asks."""
        _unseen.discard(id(self))
        return self.error

    def __str__(self):
        text = str(self.error)
        return text if isinstance(self.error, ValueError) else f"{type(self.error).__name__}{text and ': '}{text}"


def _forget_frames(error):
    """Of an exception, and of those that led to it."""
    if error is not None:
        error.__traceback__ = None
        _forget_frames(error.__cause__)
        _forget_frames(error.__context__)


@atexit.register
def _end():
    """Registered before the engine is loaded, so that its threads have ended when this is called."""
    if not _unseen:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(EXIT_STATUS)  # nothing else changes the status at this point
