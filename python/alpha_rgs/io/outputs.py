# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of results that are written whole or not at all, whatever happens to the process."""
import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator

from ..errors import RecordingError

_PREFIX = ".alpha-rgs-"
_LOCK, _TARGET = "lock", "target"       # held while the process lives; where the files go, once they are all there
_YOUNG = 3600.0         # s: a folder without a lock may be one that another process is about to lock


@contextlib.contextmanager
def all_or_nothing(folder: str | os.PathLike[str], names: Iterable[str],
                   overwrite: bool = False) -> Iterator[pathlib.Path]:
    """A context that gives an empty folder to write `names` into, and moves them into `folder` when it ends without exception.

    After an exception, Ctrl-C included, `folder` is as it was before. What a killed process has left beside it is cleared by the
    next one that writes there; a result that was whole and being moved is then moved on. Raises RecordingError where one of the
    names exists already, or has come to exist meanwhile, and overwrite is False, or where the folder cannot be written.
    """
    folder, names = pathlib.Path(folder), list(names)
    beside = folder.absolute()
    while not beside.exists():      # on the same file system, so that moving is renaming
        beside = beside.parent
    _clear(beside)
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise RecordingError(f"{folder / existing[0]}: exists already; choose another folder or pass --overwrite")
    if folder.exists() and not folder.is_dir():
        raise RecordingError(f"{folder}: is a file; a folder is needed to write into")
    try:
        hidden = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
        try:
            with open(hidden / _LOCK, "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                written, old = hidden / "new", hidden / "old"
                written.mkdir()
                old.mkdir()
                yield written
                stale = [name for name in names if not (written / name).exists()] if written.exists() else []
                _name_target(hidden, folder, overwrite)
                _move(written, folder, old, stale, overwrite)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _name_target(hidden: pathlib.Path, folder: pathlib.Path, overwrite: bool) -> None:
    """From here on the files are whole: a process that is killed has its result finished by the next one."""
    if overwrite:
        (hidden / "named").write_text(str(folder.absolute()), encoding="utf-8", errors="surrogateescape")
        os.rename(hidden / "named", hidden / _TARGET)


def _clear(beside: pathlib.Path) -> None:
    """Finish or remove what processes left in `beside` that live no more."""
    for hidden in beside.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if not (hidden / _LOCK).exists():
                if time.time() - hidden.stat().st_mtime > _YOUNG:
                    shutil.rmtree(hidden, ignore_errors=True)
                continue
            with open(hidden / _LOCK, "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)        # OSError: its process lives
                if (hidden / _TARGET).exists() and (hidden / "new").exists():
                    target = (hidden / _TARGET).read_text(encoding="utf-8", errors="surrogateescape")
                    _move(hidden / "new", pathlib.Path(target), hidden / "old", [], True)
                shutil.rmtree(hidden, ignore_errors=True)


def _move(written: pathlib.Path, folder: pathlib.Path, old: pathlib.Path, stale: Iterable[str], overwrite: bool) -> None:
    """Move the files of `written` into `folder`, those that they replace and `stale` ones into `old`; after an exception all are
    back. Without overwrite nothing is replaced: RecordingError."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not overwrite:
                folder.mkdir()          # of two processes one makes it
            os.rename(written, folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    done: list[pathlib.Path] = []
    try:
        for name in stale if overwrite else ():         # of an earlier result, which this one does not have
            if (folder / name).exists():
                done.append(folder / name)
                os.replace(folder / name, old / name)
        for path in sorted(written.iterdir()):
            _place(path, folder / path.name, old, overwrite, done)
    except BaseException:
        for target in done:
            target.unlink(missing_ok=True)
            if (old / target.name).exists():
                os.replace(old / target.name, target)
        raise


def _place(path: pathlib.Path, target: pathlib.Path, old: pathlib.Path, overwrite: bool, done: list[pathlib.Path]) -> None:
    """Move one file; `done` gets its target."""
    if overwrite:
        if target.exists():
            os.replace(target, old / path.name)
        done.append(target)
        os.replace(path, target)
        return
    try:
        os.link(path, target)           # unlike a rename, it replaces nothing
    except FileExistsError:
        raise RecordingError(f"{target}: was written by another process meanwhile; choose another folder or pass "
                             "--overwrite") from None
    except OSError:                     # a file system without links
        with open(target, "xb") as out, open(path, "rb") as data:
            done.append(target)
            shutil.copyfileobj(data, out)
        return
    done.append(target)
    path.unlink()
