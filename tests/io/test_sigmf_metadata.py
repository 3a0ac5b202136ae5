# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata of others: each field that is read is of the form that SigMF has, or is named."""
import json

import numpy as np
import pytest
from alpha_rgs.errors import RecordingError
from alpha_rgs.io import recordings


def changed(folder, part, field, value):
    """A recording one field of whose metadata is another."""
    path = recordings.save(folder / "rec", np.ones(64), 1e6, annotations=[{"core:sample_start": 0}])
    meta = json.loads(path.read_text())
    one = meta["global"] if part == "global" else meta[part][0]
    one[field] = value
    path.write_text(json.dumps(meta))
    return path


@pytest.mark.parametrize(("part", "field", "value"), [
    ("global", "core:dataset", "../rec.sigmf-data"), ("global", "core:dataset", "/etc/passwd"), ("global", "core:dataset", ".."),
    ("global", "core:dataset", ["rec.sigmf-data"]), ("global", "core:dataset", ""), ("global", "core:dataset", "a\0b"),
    ("global", "core:description", ["a", "b"]), ("global", "core:description", {}), ("global", "core:num_channels", "1"),
    ("global", "core:trailing_bytes", -8), ("global", "core:trailing_bytes", 10**30), ("global", "core:sha512", 5),
    ("captures", "core:frequency", "433 MHz"), ("captures", "core:frequency", float("nan")),
    ("captures", "core:frequency", 10**400), ("captures", "core:header_bytes", 1.5), ("captures", "core:sample_start", None),
    ("annotations", "core:sample_start", "0"), ("annotations", "core:sample_count", True), ("annotations", "core:label", ["x"]),
    ("annotations", "core:comment", 3)])
def test_a_field_of_another_form_is_named(tmp_path, part, field, value):
    """Lists where text is expected, paths that lead out of the folder, numbers without end."""
    with pytest.raises(RecordingError) as error:
        recordings.load(changed(tmp_path, part, field, value))
    assert "rec.sigmf-meta" in str(error.value) and field in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("part", ["captures", "annotations"])
@pytest.mark.parametrize("value", [{}, "x", [1], [[]], [{}]])
def test_a_part_of_another_form_is_named(tmp_path, part, value):
    path = recordings.save(tmp_path / "rec", np.ones(64), 1e6)
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    with pytest.raises(RecordingError, match=part):
        recordings.load(path)


def test_a_dataset_beside_its_metadata_is_read(tmp_path):
    path = changed(tmp_path, "global", "core:dataset", "other.sigmf-data")
    (tmp_path / "rec.sigmf-data").rename(tmp_path / "other.sigmf-data")
    assert len(recordings.load(path).samples) == 64
