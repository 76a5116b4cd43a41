"""No-reference video quality for FFmpeg workflows.

    from qclip_ffmpeg import probe
    print(probe("encoded.mp4").pooled.mean)

Importing the package loads nothing else; torch and PyAV come with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qclip_ffmpeg.checkpoint import LoadedModel, load_model
    from qclip_ffmpeg.errors import InputError, ModelError, QClipError, UsageError
    from qclip_ffmpeg.frame import Frame, VideoInfo
    from qclip_ffmpeg.inputs import InputOptions
    from qclip_ffmpeg.measurement import Measurement, ProbeSettings, probe, probe_many
    from qclip_ffmpeg.reader import VideoReader, open_video
    from qclip_ffmpeg.scorer import Scorer
    from qclip_ffmpeg.track import QualityTrack, SegmentScore
    from qclip_ffmpeg.views import Display

__version__ = "0.1.0"
__all__ = [
    "Display",
    "Frame",
    "InputError",
    "InputOptions",
    "LoadedModel",
    "Measurement",
    "ModelError",
    "ProbeSettings",
    "QClipError",
    "QualityTrack",
    "Scorer",
    "SegmentScore",
    "UsageError",
    "VideoInfo",
    "VideoReader",
    "load_model",
    "open_video",
    "probe",
    "probe_many",
]

_MODULES = {
    "checkpoint": ("LoadedModel", "load_model"),
    "errors": ("InputError", "ModelError", "QClipError", "UsageError"),
    "frame": ("Frame", "VideoInfo"),
    "inputs": ("InputOptions",),
    "measurement": ("Measurement", "ProbeSettings", "probe", "probe_many"),
    "reader": ("VideoReader", "open_video"),
    "scorer": ("Scorer",),
    "track": ("QualityTrack", "SegmentScore"),
    "views": ("Display",),
}
"""The public names by module, as they are imported above for type checkers."""


if not TYPE_CHECKING:  # else every misspelt name would pass for an object

    def __getattr__(name: str) -> object:
        """Import a public name when it is asked for (PEP 562)."""
        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
