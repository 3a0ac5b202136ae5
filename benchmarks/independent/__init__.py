# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals of generators and receivers that are not ours: frames read without interference, with it, and separated.

Wanted signal, interference and receiver are code of others. Ours are the separation and the channel: noise, phase, carrier
offset, level.
"""
