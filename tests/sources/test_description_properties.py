# SPDX-License-Identifier: GPL-3.0-or-later
"""Prior files of any content: read, or refused in words; and what is read is written as it was."""
import tomllib

from alpha_rgs.errors import AlphaRgsError
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.description import Description, hertz_keys
from alpha_rgs.sources.registry import KINDS
from alpha_rgs.sources.toml import known_values, to_toml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NUMBERS = st.one_of(st.integers(), st.integers(-3, 300), st.floats(), st.floats(0, 2), st.sampled_from([8, 16, 64, 0.35, 1e6]))
WORDS = st.sampled_from(["qpsk", "16qam", "rrc", "rect", "gaussian", "unknown", "0110", "lte-10", "taps", "", "\x1b[31m"])
PLAIN = st.one_of(NUMBERS, st.booleans(), WORDS, st.text(max_size=20))
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=5), max_leaves=12)


@st.composite
def tables(draw):
    """A prior file's keys, most of them known."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    known = sorted({*KINDS[kind].keys, *hertz_keys(KINDS[kind])})
    keys = draw(st.lists(st.one_of(st.sampled_from(known), st.sampled_from(known), st.text(max_size=8)), max_size=6, unique=True))
    table = {key: draw(VALUES) for key in keys}
    if kind == "sum":
        table["sources"] = draw(st.lists(st.sampled_from([{"kind": "ofdm"}, {"kind": "lora"}, {}, 3]), max_size=3))
    return {"kind": draw(st.one_of(st.just(kind), st.just(kind), st.just(kind), VALUES)), **table}


@given(tables(), st.sampled_from([1e3, 48e3, 1e6, 61.44e6]))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_table_is_a_source_or_refused_in_words(table, rate):
    """Nothing but an AlphaRgsError with a readable message; a source says its band, its values and its file."""
    try:
        source = from_dict(table, "prior.toml")
        source = source.at_rate(rate) if isinstance(source, Description) else source
    except AlphaRgsError as error:
        assert str(error).startswith("prior.toml: ") and len(str(error)) < 2000
        return
    again = from_dict(tomllib.loads(to_toml(source)), "again.toml")
    assert repr(known_values(again)) == repr(known_values(source))
