"""The Python API: one model, several files, the worst moment of each.

    python examples/python_api.py ladder/*.mp4

You will see a line a file: its score, its 5 % low, and where it looks worst, with the noise that scores have.
"""

import sys

import numpy as np

from qclip_ffmpeg import ProbeSettings, QualityTrack, Scorer, load_model, probe_many


def line(track: QualityTrack) -> str:
    """A track in a line."""
    rows = track.to_numpy()
    if np.isnan(rows["score"]).all():  # also of no rows
        return f"{track.source.name}: not measured: {track.warnings[0]}"
    worst = rows[np.nanargmin(rows["score"])]
    figures = f"{track.pooled.mean:.1f}, p5 {track.pooled.p5:.1f}, noise band {track.pooled.noise_band}"
    return f"{track.source.name}: {figures}, worst {worst['score']:.1f} at {worst['start_s']:.2f} s"


if __name__ == "__main__":
    scorer = Scorer(load_model(), device="auto")
    for track in probe_many(sys.argv[1:], scorer=scorer, settings=ProbeSettings(sampling="motion")):
        print(line(track), flush=True)
