# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals of generators and receivers that are not ours: frames read without interference, with it, and separated.

Neither the wanted signal, nor the interference, nor the receiver is code of this project: only the separation between them is, and
the noise, phase and level that a channel adds.
"""
