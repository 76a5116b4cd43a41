"""No-reference video quality for FFmpeg workflows."""

__version__ = "0.1.0"
