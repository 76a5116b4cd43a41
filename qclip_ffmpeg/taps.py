"""Taps: threads that move bytes through pipes while they are measured.

`Tee` passes a stream on and copies it into a pipe to measure from; `follow` runs a file that still grows through one.
The pipes are the kernel's and bounded: what is not read in time makes its writer wait, nothing is kept in memory.
"""

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "linux":
    import fcntl

CHUNK_BYTES = 1 << 16  # stays in a core's cache between reading and the second writing
PIPE_BYTES = 1 << 20  # Linux: as much as it allows without privileges
DRAIN_S = 0.002
LOOK_AGAIN_S = 0.1
READER_GONE = "the reader of standard output has gone"


class Tee:
    """Passes a stream on, byte for byte, and a copy of it into a pipe, as fast as the slower of their readers.

    Whoever measures may stop reading the copy at any time, by closing `feed`: the stream then flows on alone. When the
    stream's own reader goes, reading stops and the copy ends, too. Both descriptors that are handed in are closed at
    the end.

    Args:
        source: descriptor to read the stream from.
        sink: descriptor to pass it on to.

    Attributes:
        feed: descriptor to read the copy from.
        failure: why not all of the stream was passed on, one sentence; None as long as nothing went wrong.
    """

    failure: str | None

    def __init__(self, source: int, sink: int) -> None:
        self.failure = None
        self._source, self._sink = source, sink
        self.feed, self._copy = os.pipe()
        for pipe in (source, sink, self._copy):
            os.set_blocking(pipe, True)  # who had it before may have made it otherwise
            widen(pipe)
        self._thread = threading.Thread(target=self._run, name="tee", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last byte has flowed, or nobody wants the next one."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._flow()
        except BrokenPipeError:
            self.failure = READER_GONE
        except OSError as error:
            self.failure = f"the stream could not be passed on ({error.strerror})"
        finally:  # in this order: who sees the copy end can see why
            os.close(self._copy)
            os.close(self._sink)
            os.close(self._source)

    def _flow(self) -> None:
        duplicate = kernel_tee()
        if duplicate and is_pipe(self._source) and is_pipe(self._sink):
            self._flow_in_kernel(duplicate)
        else:
            self._flow_through_here()

    def _flow_in_kernel(self, duplicate: Callable[[int, int, int], int]) -> None:
        """Between pipes Linux hands on the pages: no byte is copied."""
        wanted = True
        while True:
            to_pass_on = PIPE_BYTES
            if wanted:
                try:
                    to_pass_on = duplicate(self._source, self._copy, PIPE_BYTES)
                except BrokenPipeError:
                    wanted = False
            if not to_pass_on:
                return
            while to_pass_on:  # all that was duplicated, before more is
                passed_on = os.splice(self._source, self._sink, to_pass_on)
                if not passed_on:
                    return
                to_pass_on -= passed_on
                if to_pass_on:  # the sink is full; its reader would wake this thread for every few pages it takes
                    time.sleep(DRAIN_S)

    def _flow_through_here(self) -> None:
        wanted = True
        while chunk := os.read(self._source, CHUNK_BYTES):
            write_all(self._sink, chunk)
            if wanted:
                try:
                    write_all(self._copy, chunk)
                except BrokenPipeError:
                    wanted = False


def kernel_tee() -> Callable[[int, int, int], int] | None:
    """Linux's tee(2), which Python lacks: duplicates at most so many bytes of a pipe in another, as `os.splice` moves.

    Returns:
        (source, sink, bytes) -> bytes duplicated, 0 at the end; raises OSError. None: the system has none.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "tee"):
        return None
    call = libc.tee
    call.argtypes, call.restype = [ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint], ctypes.c_ssize_t

    def duplicate(source: int, sink: int, count_bytes: int) -> int:
        while (duplicated := int(call(source, sink, count_bytes, 0))) < 0:
            if (number := ctypes.get_errno()) != errno.EINTR:
                raise OSError(number, os.strerror(number))
        return duplicated

    return duplicate


def is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def follow(path: Path, idle_s: float) -> int:
    """Run a file through a pipe, and what it grows by, until it has not grown for `idle_s` seconds.

    Returns:
        The descriptor to read from. Closing it, and all its duplicates, ends the following.

    Raises:
        OSError: the file cannot be opened.
    """
    file = path.open("rb", buffering=0)
    feed, sink = os.pipe()
    widen(sink)
    threading.Thread(target=copy_growing, args=(file, sink, idle_s), name="follow", daemon=True).start()
    return feed


def copy_growing(file: BinaryIO, sink: int, idle_s: float) -> None:
    """Copy a file to a descriptor until it has not grown for `idle_s` seconds, or nobody reads; close both."""
    try:
        grown_s = time.monotonic()
        while time.monotonic() - grown_s < idle_s:
            if chunk := file.read(CHUNK_BYTES):
                write_all(sink, chunk)
                grown_s = time.monotonic()
            else:
                time.sleep(LOOK_AGAIN_S)
    except BrokenPipeError:
        pass  # whoever measured it has seen enough
    finally:
        os.close(sink)
        file.close()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however little a single write takes."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def widen(pipe: int) -> None:
    """Let a pipe hold PIPE_BYTES, so that its two ends wait for each other less often; as it was where it cannot be."""
    if sys.platform == "linux":
        with suppress(OSError):  # no pipe, or a limit of the system's
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
