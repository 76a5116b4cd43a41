"""How to measure, for every command that does: the options, and what they make."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from qclip_ffmpeg.cli.params import DisplayParam, F, SegmentParam, TimeParam, device_option, together

if TYPE_CHECKING:
    from qclip_ffmpeg.measurement import ProbeSettings
    from qclip_ffmpeg.scorer import Scorer

picking_options = together(
    click.option(
        "--segment",
        type=SegmentParam(),
        metavar="TIME|keyframes",
        default="4s",
        show_default=True,
        help="Length of a segment; keyframes: from key frame to key frame, at least 1 s.",
    ),
    click.option(
        "--frames",
        "frames_per_window",
        type=click.IntRange(1, 64),
        help="Most frames scored a segment.  [default: the model's]",
    ),
    click.option(
        "--sampling",
        type=click.Choice(["motion", "uniform", "random", "mixed"]),
        default="motion",
        show_default=True,
        help="How they are picked.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Of random sampling and mosaic tiles.",
    ),
    click.option(
        "--cuts",
        type=click.Choice(["ignore", "split"]),
        default="ignore",
        show_default=True,
        help="Scene cuts: split ends a segment at each, too, so that no window holds frames of two scenes.",
    ),
)
place_options = together(
    click.option(
        "--bars",
        type=click.Choice(["cut", "keep"]),
        default="cut",
        show_default=True,
        help="Black bars around the picture: leave them out, or score them with it.",
    ),
    click.option("-ss", "--start", "start_s", type=TimeParam(), default="0", help="Measure from this time on."),
    click.option("-t", "--duration", "duration_s", type=TimeParam(positive=True), help="Measure for this long."),
)
model_options = together(
    click.option(
        "--model",
        "model_name",
        metavar="NAME|PATH",
        help="A bundled model or a checkpoint.  [default: the bundled one]",
    ),
    device_option,
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="Of the image tower.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, 256),
        help="Frames decoded and scored side by side; never changes a score.  [default: all cores]",
    ),
)


def display_option(said: str | None = None) -> Callable[[F], F]:
    """--display. `said`: what the help says of its default, where that is not 1080."""
    return click.option(
        "--display",
        type=DisplayParam(),
        metavar="1080|native|WxH",
        default="1080" if said is None else None,
        show_default=True if said is None else said,
        help="Screen the scores are defined at: the picture is fitted into it.",
    )


def probe_settings(options: dict[str, Any]) -> "ProbeSettings":
    """What the options say of how to measure."""
    from qclip_ffmpeg.measurement import ProbeSettings
    from qclip_ffmpeg.views import Display

    return ProbeSettings(
        segment_s=options["segment"],
        sampling=options["sampling"],
        frames_per_window=options["frames_per_window"],
        display=Display(*options["display"]),
        seed=options["seed"],
        bars=options["bars"],
        cuts=options["cuts"],
        live=options.get("live", False),
        drop=options.get("drop", False),
    )


def scorer_of(options: dict[str, Any]) -> "Scorer":
    """The model that the options ask for, on its device."""
    from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, load_model
    from qclip_ffmpeg.scorer import Scorer

    model = load_model(DEFAULT_MODEL if options["model_name"] is None else options["model_name"])
    return Scorer(model, options["device"], options["precision"], threads_of(options))


def threads_of(options: dict[str, Any]) -> int:
    """Frames decoded and scored side by side."""
    from qclip_ffmpeg.scorer import cpu_count

    threads: int = options["threads"] or cpu_count()
    return threads
