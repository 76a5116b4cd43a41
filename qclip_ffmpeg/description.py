"""What a track says beside its scores: what was measured, by which model, and what a reader must know of both."""

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np
import torch

from qclip_ffmpeg import reader
from qclip_ffmpeg.bitrate import bitrate_kbps
from qclip_ffmpeg.checkpoint import LoadedModel
from qclip_ffmpeg.reader import VideoReader
from qclip_ffmpeg.track import SCORE_DECIMALS, TIME_DECIMALS, Model, SegmentScore, Source, VideoStream
from qclip_ffmpeg.views import Display


def library_versions() -> dict[str, str]:
    """Versions of everything that decides the numbers."""
    return {"torch": str(torch.__version__), "numpy": np.__version__, **reader.library_versions()}


def describe_source(name: str, video: VideoReader | None, coded_bytes: int, segments: Sequence[SegmentScore]) -> Source:
    """What the track says of its source; little, if it could not be opened."""
    if video is None:
        return Source(name, None, None, None, None)
    info = video.info
    stream = VideoStream(
        codec=info.codec,
        decoder=info.decoder,
        width_px=info.width_px,
        height_px=info.height_px,
        pixel_format=info.pixel_format,
        frame_rate=str(info.frame_rate) if info.frame_rate else None,
        time_base=str(info.time_base),
        sample_aspect_ratio=str(info.sample_aspect_ratio),
        rotation_deg=info.rotation_deg,
        mirrored=info.mirrored,
        color_matrix=info.color_matrix,
        color_range=info.color_range,
        transfer=info.transfer,
    )
    stream = msgspec.structs.replace(stream, bitrate_kbps=bitrate_kbps(stream, coded_bytes, segments))
    return Source(name, info.container, rounded(info.start_s), rounded(info.duration_s), stream)


def describe_model(model: LoadedModel) -> Model:
    """What the track says of its model."""
    card = model.card
    return Model(
        id=card.id,
        backbone=card.config.backbone.architecture,
        backbone_sha256=card.backbone_sha256,
        weights_sha256=model.weights_sha256,
        calibration=card.calibration.id if card.calibration else None,
        noise_band=round(card.noise_band.band, SCORE_DECIMALS) if card.noise_band else None,
        score_range=card.score_range,
        status=card.status,
    )


def rounded(seconds: Fraction | None) -> float | None:
    return None if seconds is None else round(float(seconds), TIME_DECIMALS)


def bars_warnings(segments: list[SegmentScore]) -> list[str]:
    """What a reader must know of the black bars that were cut."""
    cut = [a for s in segments if (a := s.active_picture_px) and (a.x or a.y)]  # bars come in pairs
    if not cut:
        return []
    sizes = " and ".join(dict.fromkeys(f"{a.width}x{a.height}" for a in cut))
    found = [f"black bars were cut, {sizes} px were scored (--bars keep scores all of the picture)"]
    if changes := [s for s in segments if "bars_changed" in s.flags]:
        found.append(f"the bars change (first at {changes[0].start_s:g} s): the picture is shown at different sizes")
    return found


def domain_warnings(segments: Sequence[SegmentScore]) -> list[str]:
    """What a reader must know of windows that the model cannot judge."""
    outside = sum("out_of_domain" in segment.flags for segment in segments)
    if not outside:
        return []
    return [
        f"{outside} of {len(segments)} segments are unlike anything the model was trained on (black or plain pictures, "
        "screen content, test patterns and tiny pictures are) and are flagged out_of_domain: their error is not known; "
        "look at them, and do not gate on them"
    ]


def dropped_warnings(segments: Sequence[SegmentScore]) -> list[str]:
    """What a reader must know of windows that were not scored."""
    dropped = sum("dropped" in segment.flags for segment in segments)
    if not dropped:
        return []
    return [
        f"{dropped} of {len(segments)} segments were not scored, since scoring was slower than the input (--drop), and "
        "are flagged dropped: the pooled figures are those of the others"
    ]


def model_warnings(model: LoadedModel, display: Display) -> list[str]:
    """What a reader must know of the model before trusting its scores at a display."""
    card = model.card
    found = []
    if card.status != "trained":
        found.append(f"the model {card.id} is {card.status}: good for comparing encodes, not for deciding a gate")
    elif card.calibration is None:
        found.append(f"the model {card.id} is not calibrated: its scores may not be compared with another model's")
    if str(display) != card.display:
        found.append(f"the model was trained at display {card.display}; scores at {display} are less certain")
    return found
