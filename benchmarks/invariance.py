"""Does a change that does not touch the picture move the score?

    python benchmarks/invariance.py FOLDER_OF_CLIPS [--seconds 8] [--qp 28] [--bars cut]

Each clip, looped to the length asked for, is encoded with x264: the reference. Measured against it, with the defaults:

    bars before     black bars added to the source, encoded with the same settings: at a constant QP, since x264's
                    CRF spends what black saves on the picture, a better encode by 1 to 2 QP
    bars after      black bars added to the decoded reference, lossless
    container       the reference's packets in mp4, nut and mpegts
    10 bit          the samples of the decoded reference times 4 as yuv420p10, lossless
    half a segment  the reference from 2 s on, in segments of 4 s

Prints |difference| of the pooled mean, in points of 100, a row a clip; beside the score the noise band, up to which two
encodes of a content must be called equal. At the end, how many differences lie beyond it and how often bars were found.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np

from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import QClipError
from qclip_ffmpeg.ffmpeg import run
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.track import QualityTrack

BARS = {  # what the picture's width and height are multiplied with: the shapes a 16:9 picture would get
    "2.39:1": (1.0, 2.39 / (16 / 9)),
    "1.85:1": (1.0, 1.85 / (16 / 9)),
    "4:3": ((16 / 9) / (4 / 3), 1.0),
    "window": (4 / 3, 4 / 3),
}
CONTAINERS = ("mp4", "nut", "ts")
LOSSLESS = {"vcodec": "ffv1", "an": None}


def padded(wide: float, high: float) -> str:
    """An ffmpeg filter that puts the picture in the middle of black; sizes and places stay even."""
    return f"pad=ceil(iw*{wide:.6f}/2)*2:ceil(ih*{high:.6f}/2)*2:floor((ow-iw)/4)*2:floor((oh-ih)/4)*2"


def variants(clip: Path, folder: Path, seconds: float, qp: int) -> dict[str, Path]:
    """Files by name, "reference" first; all made from the clip."""
    made = {"reference": folder / "reference.mkv"}
    encoder = {"vcodec": "libx264", "qp": qp, "pix_fmt": "yuv420p", "t": seconds, "an": None}
    even = "scale=ceil(iw/2)*2:ceil(ih/2)*2,setsar=1"
    run(ffmpeg.input(str(clip), stream_loop=-1).output(str(made["reference"]), vf=even, **encoder))
    reference = ffmpeg.input(str(made["reference"]))
    for name, shape in BARS.items():
        before, after = f"{name} before", f"{name} after"
        made |= {before: folder / f"{before}.mkv".replace(":", "-"), after: folder / f"{after}.mkv".replace(":", "-")}
        source = ffmpeg.input(str(clip), stream_loop=-1)
        run(source.output(str(made[before]), vf=f"{even},{padded(*shape)}", **encoder))
        run(reference.output(str(made[after]), vf=padded(*shape), **LOSSLESS))
    for container in CONTAINERS:
        made[container] = folder / f"reference.{container}"
        run(reference.output(str(made[container]), c="copy"))
    made["10 bit"] = folder / "10bit.mkv"
    run(reference.output(str(made["10 bit"]), pix_fmt="yuv420p10le", **LOSSLESS))
    return made


def mean_of(track: QualityTrack) -> float:
    assert track.pooled.mean is not None
    return track.pooled.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--qp", type=int, default=28)
    parser.add_argument("--bars", choices=["cut", "keep"], default="cut")
    options = parser.parse_args()
    scorer, settings = Scorer(load_model()), ProbeSettings(bars=options.bars)
    names = [f"{name} {when}" for name in BARS for when in ("before", "after")] + [*CONTAINERS, "10 bit", "half"]
    rows: list[list[float]] = []
    barred = cut = 0
    bands: list[float] = []
    print(f"{'clip':28s}{'score':>7s}{'band':>7s}" + "".join(f"{name:>15s}" for name in names))
    for clip in sorted(options.clips.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = variants(clip, Path(folder), options.seconds, options.qp)
                tracks = {name: probe(str(path), scorer=scorer, settings=settings) for name, path in made.items()}
                half = InputOptions(start_s=Fraction(2))
                tracks["half"] = probe(str(made["reference"]), scorer=scorer, settings=settings, options=half)
            except QClipError as error:
                print(f"{clip.name}: left out: {error}")
                continue
        score = mean_of(tracks["reference"])
        bands.append(tracks["reference"].pooled.noise_band or np.nan)
        rows.append([abs(mean_of(tracks[name]) - score) for name in names])
        found = [s.active_picture_px for n, t in tracks.items() if n.endswith(("before", "after")) for s in t.segments]
        barred += len(found)
        cut += sum(area is not None and bool(area.x or area.y) for area in found)
        print(f"{clip.name:28.28s}{score:7.2f}{bands[-1]:7.2f}" + "".join(f"{d:15.3f}" for d in rows[-1]), flush=True)
    table = np.array(rows)
    for label, figures in {"maximum": table.max(axis=0), "p95": np.quantile(table, 0.95, axis=0)}.items():
        print(f"{label:42s}" + "".join(f"{d:15.3f}" for d in figures))
    beyond = int((table > np.array(bands)[:, None]).sum())
    print(f"{beyond} of {table.size} differences are beyond the noise band")
    print(f"bars were found in {cut} of {barred} segments that have them")


if __name__ == "__main__":
    main()
