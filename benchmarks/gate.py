"""Does a gate hold its tongue at noise, and does it speak up at a loss?

    python -m benchmarks.gate FOLDER_OF_CLIPS OUT [--folds RUN] [--encodes 10] [--trials 5] [--policy hls-vod]

Each clip, nearly lossless, becomes a ladder of five rungs at three sizes (x264 and x265 in turn), with a VMAF of about
50, 68, 80, 88 and 95: the baseline. Then
* the whole ladder is encoded again, each time with another preset and number of threads, each rung at a CRF that puts
  its VMAF within 0.5 of what it was. Nothing got worse: the gate must not fail against the baseline;
* one rung at a time is encoded at a CRF that takes 3 to 4 points off its VMAF, beside the other rungs of such a ladder.
  The gate must fail, and name the rung or the ladder.

A model has seen the contents it was trained with. --folds is what `qclip-model train` wrote of a preset with folds:
each clip, by its name, is scored by the model of the fold that tested it, with the card of the default model.

VMAF (v0.6.1) and scores are of the clip's own size: the policy's display is set aside. Encodes, their VMAF and their
tracks stay in OUT: what is there is not made again, so that a run may be stopped and gone on with, and another policy
costs seconds. Which rung of which ladder gets worse is drawn from --seed and the clip's name. Writes OUT/gate.json and
prints a table, after every clip. Needs libvmaf, which imageio-ffmpeg's ffmpeg has.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import ffmpeg
from msgspec.structs import replace

from benchmarks.accuracy.worker import learned_without
from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.emit.sidecar import SIDECAR_SUFFIX, from_json, to_json
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.gate import judge
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.policy import Policy, read_policy, read_preset
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.verdict import GateReport, Result
from qclip_ffmpeg.views import Display

SAME_VMAF = 0.45  # the promise is 0.5
LOSS_VMAF = (-4.0, -3.0)
ABOUT_VMAF = 1.0
TRIES = 14
VMAF_A_CRF = 2.0  # what a step of CRF costs, to begin with
CRFS = (16.0, 48.0)
CODECS = ("libx264", "libx265")
PRESETS = ("veryfast", "faster", "fast", "slow", "slower", "veryfast", "superfast", "medium", "fast", "slow")
THREADS = (1, 2, 4, 1, 2, 3, 1, 4, 3, 2)


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of every ladder."""

    name: str
    share: float
    """Of the clip's lines."""
    vmaf: float
    """Of the baseline, about."""


STEPS = (
    Step("half", 1 / 2, 50),
    Step("threequarters-low", 3 / 4, 68),
    Step("threequarters-high", 3 / 4, 80),
    Step("full-low", 1, 88),
    Step("full-high", 1, 95),
)


@dataclass(frozen=True, slots=True)
class Made:
    """One encode."""

    crf: float
    vmaf: float


@dataclass(frozen=True, slots=True)
class Way:
    """How one is made."""

    codec: str
    preset: str
    threads: int


class Studio:
    """Makes and measures the encodes of one clip; keeps all it has made."""

    def __init__(self, clip: Path, folder: Path, codec: str, scorer: Scorer, judged_by: str) -> None:
        self.clip, self.folder, self.codec, self.scorer, self.judged_by = clip, folder, codec, scorer, judged_by
        with open_video(str(clip)) as video:
            self.size_px = video.info.width_px, video.info.height_px

    def baseline(self) -> list[Rung]:
        """The ladder as it was."""
        return [self.rung("baseline", step, Way(self.codec, "medium", 2)) for step in STEPS]

    def again(self, number: int) -> list[Rung]:
        """The ladder encoded another way, each rung as good as it was."""
        return [self.rung(f"again-{number}", step, self.way(number), (-SAME_VMAF, SAME_VMAF)) for step in STEPS]

    def worse(self, number: int, step: Step) -> Rung:
        """One rung of ladder `number`, worse than it was."""
        return self.rung(f"worse-{number}", step, self.way(number), LOSS_VMAF)

    def way(self, number: int) -> Way:
        return Way(self.codec, PRESETS[number % len(PRESETS)], THREADS[number % len(THREADS)])

    def rung(self, kind: str, step: Step, way: Way, change: tuple[float, float] | None = None) -> Rung:
        """A rung whose VMAF differs by `change`, (least, most), from the baseline's; None: the baseline's own."""
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        tracks = f".{self.judged_by}{SIDECAR_SUFFIX}"
        note, sidecar, encode = (folder / f"{step.name}{end}" for end in (".json", tracks, ".mp4"))
        if not note.exists():
            made = self.first(encode, step, way) if change is None else self.changed(encode, step, way, change)
            write_atomically(note, json.dumps(asdict(made) | asdict(way)).encode())
        if not sidecar.exists():
            settings = ProbeSettings(display=Display(*self.size_px))
            write_atomically(sidecar, to_json(probe(encode, scorer=self.scorer, settings=settings)))
        return Rung(name=step.name, track=from_json(sidecar.read_bytes(), str(sidecar)))

    def first(self, encode: Path, step: Step, way: Way) -> Made:
        """The baseline's: near the VMAF it is meant to have, or as near as a low CRF comes."""
        return self.search(encode, step, way, 28, (step.vmaf - ABOUT_VMAF, step.vmaf + ABOUT_VMAF))

    def changed(self, encode: Path, step: Step, way: Way, change: tuple[float, float]) -> Made:
        """One whose VMAF differs by `change` from the baseline's.

        Begins at the CRF that the encode of this way's rung below, as good as the baseline's, would have it at.
        """
        was = self.note("baseline", step)
        beside = [s for s in STEPS if (encode.parent / f"{s.name}.json").exists()] if change[0] < 0 < change[1] else []
        shift = self.note(encode.parent.name, beside[-1]).crf - self.note("baseline", beside[-1]).crf if beside else 0.0
        span = (was.vmaf + change[0], was.vmaf + change[1])
        made = self.search(encode, step, way, was.crf + shift - sum(change) / 2 / VMAF_A_CRF, span)
        if not span[0] < made.vmaf < span[1]:
            raise SystemExit(f"{encode}: no CRF has a VMAF from {span[0]:.2f} to {span[1]:.2f}; the last: {made}")
        return made

    def note(self, kind: str, step: Step) -> Made:
        """What was noted of an encode."""
        said = json.loads((self.folder / kind / f"{step.name}.json").read_text())
        return Made(said["crf"], said["vmaf"])

    def search(self, encode: Path, step: Step, way: Way, crf: float, span: tuple[float, float]) -> Made:
        """Encode until the VMAF is within a span: by secants, kept between CRFs known to be too low and too high.

        Returns the lowest or highest of CRFS where that is not enough.
        """
        middle, slope, low, high = sum(span) / 2, VMAF_A_CRF, -math.inf, math.inf
        before: Made | None = None
        for _ in range(TRIES):
            made = Made(crf, self.encoded(encode, step, way, crf))
            if span[0] < made.vmaf < span[1] or crf == CRFS[0 if made.vmaf < middle else 1]:
                break
            low, high = (crf, high) if made.vmaf > middle else (low, crf)
            if before is not None and abs(crf - before.crf) > 0.01:
                slope = max(0.3, (before.vmaf - made.vmaf) / (crf - before.crf))
            before = made
            crf = min(max(crf + (made.vmaf - middle) / slope, CRFS[0]), CRFS[1])
            crf = crf if low < crf < high else (low + high) / 2
        return made

    def encoded(self, encode: Path, step: Step, way: Way, crf: float) -> float:
        """The VMAF of an encode, which is made."""
        lines = 2 * round(self.size_px[1] * step.share / 2)
        scaled = ffmpeg.input(str(self.clip)).filter("scale", -2, lines, flags="lanczos")
        options = {"vcodec": way.codec, "preset": way.preset, "crf": round(crf, 3), "pix_fmt": "yuv420p"}
        if way.codec == "libx265":
            options["x265-params"] = f"log-level=error:pools={way.threads}:frame-threads={way.threads}"
        else:
            options["threads"] = way.threads
        run(scaled.output(str(encode), **options), program=bundled_executable())
        return vmaf(encode, self.clip, self.size_px)


def vmaf(encode: Path, clip: Path, size_px: tuple[int, int]) -> float:
    """Mean VMAF v0.6.1 of an encode, scaled (bicubic) to the clip's size."""
    with tempfile.TemporaryDirectory() as folder:
        shown = numbered(ffmpeg.input(str(encode.resolve())).filter("scale", *size_px, flags="bicubic"))
        against = numbered(ffmpeg.input(str(clip.resolve())))
        compared = ffmpeg.filter([shown, against], "libvmaf", n_threads=1, log_fmt="json", log_path="vmaf.json")
        run(compared.output("-", format="null"), program=bundled_executable(), cwd=Path(folder))
        return float(json.loads((Path(folder) / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"])


def numbered(stream: Any) -> Any:
    """A stream whose frames have their numbers for times, in one unit whatever the container's is."""
    return stream.filter("settb", "1/1000").filter("setpts", "N")


@dataclass(frozen=True, slots=True)
class Trial:
    """One verdict."""

    content: str
    kind: str
    """"again" or "worse"."""
    number: int
    rung: str | None
    """The one that got worse."""
    broken: list[str]
    """Rules against the baseline of level error that are broken; of "worse", those that name the rung or the ladder."""
    warned: list[str]
    """The same, of level warn."""
    falls: list[float]
    """What each rung, lowest first, scores less than in the baseline."""


def trials(
    clip: Path, studio: Studio, policy: Policy, encodes: int, worse: Sequence[tuple[int, Step]]
) -> Iterator[Trial]:
    """All of one clip: every re-encode, and the ladders in `worse`, (number of the re-encode, rung that got worse)."""
    baseline = studio.baseline()
    ladders = {number: studio.again(number) for number in range(encodes)}
    for number, ladder in ladders.items():
        yield verdict(clip, "again", number, None, ladder, baseline, policy)
    for number, step in worse:
        ladder = [studio.worse(number, step) if rung.name == step.name else rung for rung in ladders[number]]
        yield verdict(clip, "worse", number, step.name, ladder, baseline, policy)


def verdict(
    clip: Path, kind: str, number: int, rung: str | None, ladder: list[Rung], baseline: list[Rung], policy: Policy
) -> Trial:
    """What the gate says of a ladder, as far as it is about the baseline."""
    policy = replace(policy, display=ladder[0].track.settings.display)
    report = judge(ladder, policy, baseline)
    broken = [r for r in against_baseline(report) if rung is None or rung in r.rungs or r.subject == "ladder"]
    old = {r.name: r.score or math.nan for r in baseline}
    return Trial(
        content=clip.stem,
        kind=kind,
        number=number,
        rung=rung,
        broken=[f"{r.rule} {r.subject}" for r in broken if r.level == "error"],
        warned=[f"{r.rule} {r.subject}" for r in broken if r.level == "warn"],
        falls=[round(old[r.name] - (r.score or math.nan), 4) for r in ladder],
    )


def against_baseline(report: GateReport) -> list[Result]:
    return [r for r in report.results if r.rule.startswith("baseline.") and r.status == "failed"]


def drawn(clip: Path, encodes: int, count: int, seed: int) -> list[tuple[int, Step]]:
    """What gets worse, (number of the re-encode, rung): each rung once before any comes twice."""
    random = Random(f"{seed} {clip.stem}")
    rungs = [step for _ in range(math.ceil(count / len(STEPS))) for step in random.sample(STEPS, len(STEPS))]
    return [(random.randrange(encodes), step) for step in rungs[:count]]


def table(found: Sequence[Trial]) -> None:
    """The figures, and every verdict that was wrong."""
    again = [t for t in found if t.kind == "again"]
    worse = [t for t in found if t.kind == "worse"]
    failed, caught = [t for t in again if t.broken], [t for t in worse if t.broken]
    print(f"{'content':22}{'again: failed':>16}{'largest fall':>14}{'worse: caught':>16}")
    for content in dict.fromkeys(t.content for t in found):
        mine, lost = ([t for t in some if t.content == content] for some in (again, worse))
        largest = max((fall for t in mine for fall in t.falls), default=math.nan)
        print(
            f"{content:22}{sum(bool(t.broken) for t in mine):>10} of {len(mine):<2}{largest:>14.2f}"
            f"{sum(bool(t.broken) for t in lost):>10} of {len(lost):<2}"
        )
    print(f"as good as before: {len(failed)} of {len(again)} fail, {sum(bool(t.warned) for t in again)} warn")
    print(f"3 to 4 VMAF worse: {len(caught)} of {len(worse)} caught", end="")
    print(f" ({len(caught) / len(worse):.1%}), {sum(bool(t.warned) for t in worse)} warned of" if worse else "")
    for trial in [*failed, *(t for t in worse if not t.broken)]:
        print(f"  {trial.content} {trial.kind}-{trial.number} {trial.rung or ''} {trial.broken} falls {trial.falls}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--folds", type=Path, help="a training run of folds; each clip is judged by who has not seen it"
    )
    parser.add_argument("--contents", type=int, default=15, help="the first so many clips by name")
    parser.add_argument("--encodes", type=int, default=10, help="of each ladder, each time another way")
    parser.add_argument("--trials", type=int, default=5, help="ladders of each content with a rung that got worse")
    parser.add_argument("--policy", default="hls-vod", help="a preset or a file that ends in .toml")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    policy = read_policy(Path(options.policy)) if options.policy.endswith(".toml") else read_preset(options.policy)
    clips = sorted(path for path in options.clips.iterdir() if path.is_file())[: options.contents]
    scorer = Scorer(load_model(), "cpu", threads=1)
    left_out = learned_without(options.folds) if options.folds else {}
    judged_by = scorer.model.weights_sha256[:8] + ("-folds" if options.folds else "")
    found: list[Trial] = []
    for number, clip in enumerate(clips):
        studio = Studio(clip, options.out / clip.stem, CODECS[number % len(CODECS)], scorer, judged_by)
        if left_out:
            scorer.model.qclip.load_state_dict(left_out[clip.stem], strict=False)  # the tower is the same
        worse = drawn(clip, options.encodes, options.trials, options.seed)
        found += trials(clip, studio, policy, options.encodes, worse)
        written = {
            "policy": policy.name,
            "model": judged_by,
            "seed": options.seed,
            "trials": [asdict(trial) for trial in found],
        }
        write_atomically(options.out / "gate.json", json.dumps(written, indent=1).encode() + b"\n")
        print(f"\n{number + 1} of {len(clips)} contents", flush=True)
        table(found)


if __name__ == "__main__":
    main()
