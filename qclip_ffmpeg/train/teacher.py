"""What an encode is labelled with: VMAF at the display's size, and what stands in for it where VMAF is blind.

VMAF v0.6.1 and its "no enhancement gain" variant (https://github.com/Netflix/vmaf/blob/master/resource/doc/models.md),
CAMBI (Tandon et al., "CAMBI: Contrast-aware Multiscale Banding Index", PCS 2021) and the chroma's PSNR come from one
pass of libvmaf. They are full reference but for CAMBI, which is taken of both and only what the encode adds counts.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.train.recipe import Fault

MODELS = "version=vmaf_v0.6.1|version=vmaf_v0.6.1neg:name=vmaf_neg"
CAMBI_WORST = 24.0  # CAMBI runs from 0, no banding, to about 24, unwatchable
CHROMA_CLEAN_DB, CHROMA_POINTS_A_DB = 40.0, 3.0
WRONG_RANGE_POINTS = 20.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """What was measured of an encode, means over its frames."""

    vmaf: float
    """0 to 100."""
    vmaf_neg: float
    """0 to 100."""
    cambi: float
    """What the encode adds to the reference's banding, 0 to 24; 0 where the picture is too small for it."""
    chroma_psnr_db: float
    """Mean of Cb and Cr."""

    def label(self, fault: Fault) -> float:
        """The label of an encode that has a fault, 0 to 100.

        sharpened: VMAF rewards sharpening, viewers of an over-sharpened picture do not; NEG is made for that.
        banded: VMAF hardly sees steps in smooth parts; each point of CAMBI takes its share of the whole scale.
        coarse_chroma: VMAF looks at luma only; 3 points a dB of chroma PSNR below 40 dB.
        wrong_range: crushed pictures gain VMAF, washed-out ones lose little, and everybody sees it: NEG, less most of a
        level. These last two numbers are a choice; no study at hand gives them.
        All others, combing of interlaced pictures in motion included, lower VMAF by themselves.
        """
        if fault == "sharpened":
            label = min(self.vmaf, self.vmaf_neg)
        elif fault == "banded":
            label = self.vmaf - 100 / CAMBI_WORST * self.cambi
        elif fault == "coarse_chroma":
            label = self.vmaf - CHROMA_POINTS_A_DB * max(0.0, CHROMA_CLEAN_DB - self.chroma_psnr_db)
        elif fault == "wrong_range":
            label = min(self.vmaf, self.vmaf_neg) - WRONG_RANGE_POINTS
        else:
            label = self.vmaf
        return max(0.0, label)


def measure(encode: Path, reference: Path, size_px: tuple[int, int], frame_step: int = 1) -> Teacher:
    """Compare an encode, scaled (bicubic, as a player does) to the reference's size, with the reference.

    Args:
        encode: what was made of the reference.
        reference: lossless.
        size_px: (width, height) of the reference.
        frame_step: of the reference, one frame in so many was encoded.

    Raises:
        FFmpegError: ffmpeg, which needs libvmaf, failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        shown = ffmpeg.input(str(encode.resolve())).filter("scale", *size_px, flags="bicubic").filter("setpts", "N")
        against = ffmpeg.input(str(reference.resolve())).filter("framestep", frame_step).filter("setpts", "N")
        log = "vmaf.json"
        compared = ffmpeg.filter(
            [shown, against],
            "libvmaf",
            model=MODELS,
            feature="name=cambi:full_ref=true|name=psnr",
            n_threads=1,
            log_fmt="json",
            log_path=log,
        )
        run(compared.output("-", format="null"), program=bundled_executable(), cwd=Path(folder))
        found = {k: v["mean"] for k, v in json.loads((Path(folder) / log).read_text())["pooled_metrics"].items()}
    chroma_psnr_db = (found["psnr_cb"] + found["psnr_cr"]) / 2
    cambi = found.get("cambi_full_reference", 0.0)  # libvmaf leaves it out of small pictures
    return Teacher(found["vmaf"], found["vmaf_neg"], cambi, chroma_psnr_db)
