"""Files that are written whole or not at all, and read only when they are what was written."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

# The temporary files of this process, for who ends it in the middle of a write.
unfinished: set[Path] = set()


class StoreError(RuntimeError):
    """What is stored is missing, damaged, or from a newer version; the message names it."""


class DamagedError(StoreError):
    """A file's content does not match its checksum, cannot be read, or belongs to another name."""


class DamageWarning(UserWarning):
    """A stored file was passed over or set aside: `name` is the file's."""

    def __init__(self, sentence: str, name: str) -> None:
        super().__init__(sentence)
        self.name = name


class WriteError(OSError):
    """A file cannot be written: the disk is full, the folder is read-only. What is stored is kept."""


def write_whole(path: Path, data: bytes) -> None:
    """Write to a temporary name, flush it to the disk, then rename: a crash leaves the old file or the new one.

    A link at `path` is replaced and not followed.

    Raises: WriteError with one sentence that names the folder and the reason, or what is no file and is kept.
    """
    other = not_a_file(path)
    if other:
        raise WriteError(f"{path} is {other} and is kept; accepted: the name of a file, or one that is free")
    temporary = path.with_name(f"_{path.name.removeprefix('_')}.{secrets.token_hex(6)}.tmp")
    unfinished.add(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:  # follows no link
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            unfinished.discard(temporary)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the new name is durable only once its folder is
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(path.parent, error.strerror or str(error)) from error


def not_a_file(path: Path) -> str:
    """What is at `path`, or where its link leads, if a file must not take its place; empty where one may.

    In /dev and /proc names stand for something else: /dev/stdout is a link, to a file where it was redirected.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # free, or a link that leads nowhere
        mode = stat.S_IFREG
    for kind, words in _OTHER.items():
        if kind(mode):
            return words
    parent = path.parent.resolve()
    return "in a folder of the system" if parent == Path("/dev") or parent.is_relative_to("/proc") else ""


_OTHER = {
    stat.S_ISDIR: "a folder",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}


def unwritable(folder: Path, reason: str) -> WriteError:
    """The error for a folder that cannot be written."""
    return WriteError(
        f"{folder} cannot be written ({reason}); what is stored there is kept, and the same run resumes once it can be"
    )


def free_name(path: Path) -> Path:
    """`path`, or where it is taken `path` with the first free number appended."""
    candidate, count = path, 1
    while candidate.exists():
        candidate, count = path.with_name(f"{path.name}.{count}"), count + 1
    return candidate
