# SPDX-License-Identifier: GPL-3.0-or-later
"""Text files of others are read within bounds: what is no such file is refused at once, in one line that names it."""
import os

import pytest
from alpha_rgs.errors import ParameterError, RecordingError
from alpha_rgs.parsing import MOST_TOML, json_file, toml_file

READERS = [(toml_file, ParameterError), (json_file, RecordingError)]


@pytest.mark.parametrize(("content", "words"), [
    (b"a = " + b"[" * 100_000, "nests too deeply"), (b"a = " + b"[" * 5000 + b"]" * 5000, "nests too deeply"),
    (b"a = " + b"9" * 5000, "too many digits"), (b"\xff\xfe", "is not TOML"), (b"a = 1\na = 2", "is not TOML"),
    (b"#" * (MOST_TOML + 1), f"larger than {MOST_TOML} bytes")])
def test_what_is_no_toml_is_named(tmp_path, content, words):
    """Depth, numbers without end, binary data, and a size that no prior file has."""
    (tmp_path / "prior.toml").write_bytes(content)
    with pytest.raises(ParameterError, match=words) as error:
        toml_file(tmp_path / "prior.toml")
    assert str(error.value).startswith(f"{tmp_path}/prior.toml: ") and len(str(error.value)) < 300


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff\xfe", b"{"])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "rec.sigmf-meta").write_bytes(content)
    with pytest.raises(RecordingError, match=r"rec\.sigmf-meta: is not JSON"):
        json_file(tmp_path / "rec.sigmf-meta")


@pytest.mark.parametrize(("read", "error"), READERS)
@pytest.mark.timeout(20)
def test_what_has_no_end_is_not_read(tmp_path, read, error):
    """A device and a pipe to which nobody writes."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(error, match="is no regular file"):
            read(path)


def test_a_file_is_read_as_it_stands(tmp_path):
    (tmp_path / "a.toml").write_text('kind = "ofdm"\n')
    (tmp_path / "a.json").write_text('{"global": {}}')
    assert toml_file(tmp_path / "a.toml") == {"kind": "ofdm"} and json_file(tmp_path / "a.json") == {"global": {}}
    with pytest.raises(FileNotFoundError):
        toml_file(tmp_path / "none.toml")
