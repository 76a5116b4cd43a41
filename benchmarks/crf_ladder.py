"""Do x264 CRF ladders of whole contents score strictly downwards?

    python benchmarks/crf_ladder.py FOLDER_OF_CLIPS [--seconds 4]

Each clip is encoded at CRF 18, 24, 30, 36, 42 and 48 at its own size and measured with the defaults. Prints every
ladder and how many fall strictly. A clip that is itself compressed harder than CRF 18 can show no difference there.
"""

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import ffmpeg

from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import QClipError
from qclip_ffmpeg.ffmpeg import run
from qclip_ffmpeg.measurement import probe
from qclip_ffmpeg.scorer import Scorer

CRFS = (18, 24, 30, 36, 42, 48)


def ladder(clip: Path, seconds: float, scorer: Scorer) -> list[float]:
    """Mean score at each of CRFS."""
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        for crf in CRFS:
            encode = Path(folder) / f"crf{crf}.mp4"
            run(ffmpeg.input(str(clip)).output(str(encode), vcodec="libx264", crf=crf, t=seconds, an=None))
            mean = probe(str(encode), scorer=scorer).pooled.mean
            assert mean is not None
            scores.append(mean)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    scorer = Scorer(load_model())
    falling = total = 0
    print("clip" + " " * 36 + "".join(f"CRF {crf:<4d}" for crf in CRFS))
    for clip in sorted(options.clips.iterdir()):
        try:
            scores = ladder(clip, options.seconds, scorer)
        except QClipError as error:
            print(f"{clip.name}: left out: {error}")
            continue
        strictly = all(a > b for a, b in pairwise(scores))
        total += 1
        falling += strictly
        print(
            f"{clip.name:40.40s}" + "".join(f"{score:<8.2f}" for score in scores) + ("" if strictly else "  not strict")
        )
    print(f"{falling} of {total} ladders fall strictly")


if __name__ == "__main__":
    main()
