# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that a caller can mend. Each message names the file, key or argument and what would be right."""


class AlphaRgsError(ValueError):
    """Base class: the input was wrong."""


class ParameterError(AlphaRgsError):
    """A parameter of a signal, prior or separator is out of range or of the wrong kind."""


class CapabilityError(AlphaRgsError):
    """A separator was given a prior that lacks what the method needs."""


class RecordingError(AlphaRgsError):
    """A recording is missing, malformed or holds values that are not finite."""
