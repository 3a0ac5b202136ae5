# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF metadata of any content: read, or refused in words; and what is saved is read as it was."""
import json
import tempfile

import numpy as np
from alpha_rgs.errors import RecordingError
from alpha_rgs.io import recordings
from hypothesis import given, settings
from hypothesis import strategies as st

JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10),
                              st.sampled_from(["cf32_le", "ci16_le", "../x", "rec.sigmf-data", 0, 1, 1e6])),
                    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
                    max_leaves=8)
FIELDS = ["core:datatype", "core:sample_rate", "core:dataset", "core:num_channels", "core:trailing_bytes", "core:description",
          "core:frequency", "core:header_bytes", "core:sample_start", "core:sample_count", "core:label", "core:offset",
          "core:metadata_only", "core:version", "core:extensions", "core:collection"]
PARTS = st.sampled_from(["global", "captures", "annotations", ""])
CHANGES = st.lists(st.tuples(PARTS, st.sampled_from(FIELDS), JSON), min_size=1, max_size=3)


@given(CHANGES)
@settings(max_examples=300, deadline=None)
def test_any_metadata_is_read_or_refused_in_words(changes):
    """One to three fields of a good file, or whole parts of it, are anything."""
    with tempfile.TemporaryDirectory() as folder:
        path = recordings.save(f"{folder}/rec", np.ones(16), 1e6, 433e6, [{"core:sample_start": 0, "core:sample_count": 4}])
        meta = json.loads(path.read_text())
        del meta["global"]["core:sha512"]
        for part, field, value in changes:
            if not part:
                meta[("global", "captures", "annotations")[len(field) % 3]] = value
            elif isinstance(one := meta[part], dict):
                one[field] = value
            elif isinstance(one, list) and one and isinstance(one[0], dict):
                one[0][field] = value
        path.write_text(json.dumps(meta))
        try:
            out = recordings.load(path)
        except RecordingError as error:
            assert folder in str(error) and len(str(error)) < 2000
            return
        assert out.samples.dtype == np.complex64 and out.sample_rate > 0 and isinstance(out.description, str)


LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False),
                          st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1, max_size=20),
       st.floats(1e-3, 1e12), LABELS, LABELS)
@settings(max_examples=100, deadline=None)
def test_what_is_saved_is_read_as_it_was(parts, rate, description, label):
    """Samples to the last bit, rates and texts."""
    samples = np.array([complex(*part) for part in parts], np.complex64)
    with tempfile.TemporaryDirectory() as folder:
        path = recordings.save(f"{folder}/rec", samples, rate, 1e9, [{"core:sample_start": 0, "core:label": label}], description)
        out = recordings.load(path)
    assert np.array_equal(out.samples, samples) and out.sample_rate == rate and out.frequency == 1e9
    assert out.description == description and out.annotations[0]["core:label"] == label
