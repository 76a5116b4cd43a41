"""Bytes in threads of their own: a stream passed on and copied, a file followed while it grows."""

import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qclip_ffmpeg import taps
from qclip_ffmpeg.taps import PIPE_BYTES, READER_GONE, Tee, follow

MB = 1_000_000
DATA = random.Random(0).randbytes(5 * MB)


class Reader(threading.Thread):
    """Reads a descriptor to its end, from the moment it is started."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(daemon=True)
        self._descriptor = descriptor
        self.data = b""

    def run(self) -> None:
        with os.fdopen(self._descriptor, "rb") as file:
            self.data = file.read()

    def all(self) -> bytes:
        self.join(timeout=60)
        assert not self.is_alive()
        return self.data


class Writer(threading.Thread):
    """Writes to a descriptor, and closes it; `written` counts on meanwhile."""

    def __init__(self, descriptor: int, data: bytes) -> None:
        super().__init__(daemon=True)
        self._descriptor, self._data = descriptor, data
        self.written = 0
        self.start()

    def run(self) -> None:
        with suppress(BrokenPipeError):
            while self.written < len(self._data):
                self.written += os.write(self._descriptor, self._data[self.written :][:10_000])
        os.close(self._descriptor)


class Pipes:
    """A writer, a Tee, and the two ends it writes to."""

    def __init__(self, data: bytes) -> None:
        source, upstream = os.pipe()
        self.downstream, sink = os.pipe()
        self.writer = Writer(upstream, data)
        self.tee = Tee(source, sink)


@pytest.fixture(params=["kernel", "here"])
def pipes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipes]:
    """Both ways there are to pass bytes on: Linux's between pipes, and that of everything else."""
    if request.param == "here":
        monkeypatch.setattr(taps, "kernel_tee", lambda: None)
    elif sys.platform != "linux":
        pytest.skip("tee(2) is Linux's")
    made = Pipes(DATA)
    yield made
    for descriptor in (made.downstream, made.tee.feed):
        with suppress(OSError):
            os.close(descriptor)


def stands_still(writer: Writer) -> bool:
    before = -1
    while before != writer.written:
        before = writer.written
        time.sleep(0.5)
    return writer.is_alive()


def test_a_tee_gives_both_the_same_bytes(pipes: Pipes) -> None:
    ends = [Reader(pipes.downstream), Reader(pipes.tee.feed)]
    for end in ends:
        end.start()
    assert [end.all() == DATA for end in ends] == [True, True]
    pipes.tee.wait()
    assert pipes.tee.failure is None


def test_the_stream_flows_on_when_nobody_measures_any_more(pipes: Pipes) -> None:
    down = Reader(pipes.downstream)
    down.start()
    os.read(pipes.tee.feed, 1000)
    os.close(pipes.tee.feed)
    assert down.all() == DATA
    pipes.tee.wait()
    assert pipes.tee.failure is None


def test_the_stream_waits_for_the_measurement(pipes: Pipes) -> None:
    """Only what the kernel's pipes hold is ahead of who measures."""
    down = Reader(pipes.downstream)
    down.start()
    assert stands_still(pipes.writer)
    assert pipes.writer.written <= 3 * PIPE_BYTES
    feed = Reader(pipes.tee.feed)
    feed.start()
    assert feed.all() == down.all() == DATA


def test_when_its_reader_goes_the_stream_ends_for_all(pipes: Pipes) -> None:
    """As a tee(1) that SIGPIPE ended: the writer gets EPIPE, who measures gets an end."""
    feed = Reader(pipes.tee.feed)
    feed.start()
    os.read(pipes.downstream, 1000)
    os.close(pipes.downstream)
    measured = feed.all()
    assert measured == DATA[: len(measured)]
    assert len(measured) < len(DATA)
    pipes.writer.join(timeout=60)
    assert pipes.writer.written < len(DATA)
    assert pipes.tee.failure == READER_GONE


def test_a_full_disk_downstream_is_said(pipes: Pipes) -> None:
    source, upstream = os.pipe()
    writer = Writer(upstream, DATA)
    tee = Tee(source, os.open("/dev/full", os.O_WRONLY))
    assert Reader(tee.feed).run() is None
    writer.join(timeout=60)
    assert tee.failure == "the stream could not be passed on (No space left on device)"


def test_a_source_that_does_not_block_is_waited_for() -> None:
    source, upstream = os.pipe()
    downstream, sink = os.pipe()
    os.set_blocking(source, False)
    tee = Tee(source, sink)
    os.close(tee.feed)
    time.sleep(0.2)
    os.write(upstream, b"late")
    os.close(upstream)
    down = Reader(downstream)
    down.start()
    assert down.all() == b"late"
    assert tee.failure is None


def test_a_growing_file_is_followed_until_it_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_bytes(DATA[:MB])
    feed = Reader(follow(path, idle_s=1.5))
    feed.start()
    for part in range(1, 5):
        time.sleep(0.5)
        with path.open("ab") as file:
            file.write(DATA[part * MB : (part + 1) * MB])
    grown_s = time.monotonic()
    assert hashlib.sha256(feed.all()).digest() == hashlib.sha256(DATA).digest()
    assert 1.3 < time.monotonic() - grown_s < 10


def test_following_ends_when_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(DATA)
    os.close(follow(path, idle_s=1000))
    deadline_s = time.monotonic() + 10
    while any(thread.name == "follow" for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_what_cannot_be_opened_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        follow(tmp_path / "gone", idle_s=1)
