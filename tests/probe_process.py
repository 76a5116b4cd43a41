"""qclip-probe as a process of its own, on the weights of a test."""

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
