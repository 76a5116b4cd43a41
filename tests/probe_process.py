"""qclip-probe as a process of its own, on the weights of a test, and the lines that it writes."""

import json
import time
from pathlib import Path
from typing import Any

PROBE = """
import signal, sys
from pathlib import Path
from qclip_ffmpeg import checkpoint
from qclip_ffmpeg.cli import probe
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it ignored
checkpoint.WEIGHTS_DIR = Path(sys.argv.pop(1))
probe.main()
"""
"""`python -c PROBE WEIGHTS_DIR ARGUMENT...` is qclip-probe on those weights."""


def lines_of(data: str | bytes) -> list[dict[str, Any]]:
    """Of NDJSON."""
    return [json.loads(line) for line in data.splitlines()]


def wait_for_lines(path: Path, count: int, within_s: float = 120) -> None:
    """Until a file that is being written has so many."""
    deadline_s = time.monotonic() + within_s
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline_s, f"{path} has not come to {count} lines"
        time.sleep(0.05)
