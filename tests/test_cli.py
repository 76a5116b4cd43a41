"""qclip-probe as people use it: what it takes and where output goes. On the tiny model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import pytest

from qclip_ffmpeg import __version__
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.params import DisplayParam, RatioParam, SegmentParam, SizeParam, TimeParam
from qclip_ffmpeg.cli.probe import command
from qclip_ffmpeg.emit.sidecar import from_json
from qclip_ffmpeg.measurement import probe

pytest_plugins = ["model_fixtures"]

RAW = ("-f", "rawvideo", "-s", "320x180", "-r", "25", "-pix_fmt", "yuv420p")
Command = Callable[..., Any]


@pytest.fixture
def clip(media: Callable[..., Path], tmp_path: Path) -> Path:
    """A good video in a folder of its own."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(media("cli.mp4", 1, c="libx264", preset="ultrafast").read_bytes())
    return path


@pytest.fixture
def raw(media: Callable[..., Path]) -> Path:
    """25 raw frames of 320x180, yuv420p."""
    return media("cli.yuv", 1, f="rawvideo", pix_fmt="yuv420p")


# What it takes


def test_help_starts_without_the_heavy_modules() -> None:
    code = (
        "import sys; from qclip_ffmpeg.cli.probe import command; "
        "code = command.main(['--help'], standalone_mode=False); print(code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *modules = done.stderr.split()
    assert exit_code == "0"
    assert not set(modules) & {"torch", "av", "open_clip", "torchvision", "scipy", "ffmpeg", "safetensors"}
    assert [line.strip() for line in done.stdout.splitlines()].count("Examples:") == 1
    assert "  qclip-probe encoded.mp4 " in done.stdout
    assert "Exit status: 0 measured" in done.stdout


def test_every_option_is_in_the_help_and_explained(qclip_probe: Command) -> None:
    done = qclip_probe("--help")
    assert (done.code, done.stderr) == (0, "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert all(spelling in done.stdout for spelling in parameter.opts), parameter.name


def test_version(qclip_probe: Command) -> None:
    assert qclip_probe("--version").stdout == f"qclip-probe, version {__version__}\n"


@pytest.mark.parametrize(
    "spelling",
    [
        ["-f", "rawvideo", "-s", "320x180", "-r", "25", "-pix_fmt", "yuv420p", "-i"],
        ["-f", "rawvideo", "-video_size", "320x180", "-framerate", "25/1", "-pixel_format", "yuv420p", "-i"],
        ["--format", "rawvideo", "--video-size=320x180", "--framerate", "25.0", "--pixel-format=yuv420p"],
        ["-frawvideo", "-s320x180", "-r25", "-pix_fmt=yuv420p"],
        ["-f", "rawvideo", "-s", "320x180"],
    ],
)
def test_ffmpegs_spellings_and_the_long_ones_mean_the_same(spelling: list[str], raw: Path, qclip: Command) -> None:
    expected = qclip(*RAW, raw, "--json", "-ss", "0.4", "-t", "0.4")
    times = [("-ss", "400ms", "-t", "0.4"), ("--start", "00:00:00.4", "--duration", ".4s")]
    for time in times:
        assert qclip(*spelling, raw, "--json", *time) == expected
    assert expected.code == 0
    assert json.loads(expected.stdout)["segments"][0]["frame_count"] == 10


def test_what_is_said_of_the_colours_is_used(clip: Path, qclip: Command) -> None:
    short = ("-colorspace", "bt709", "-color_range", "pc", "-color_trc", "bt709", "-aspect", "4:3")
    long = ("--colorspace=bt709", "--color-range=full", "--color-trc=bt709", "--aspect=4/3")
    done = [qclip(clip, *said, "--json") for said in (short, long)]
    assert done[0] == done[1]
    video = json.loads(done[0].stdout)["source"]["video"]
    assert (video["color_matrix"], video["color_range"], video["sample_aspect_ratio"]) == ("bt709", "full", "3/4")


def test_settings_reach_the_track(clip: Path, qclip: Command) -> None:
    said = "--segment 500ms --frames 1 --sampling random --seed 5 --display 720p --precision bfloat16 --device cpu"
    track = json.loads(qclip(clip, *said.split(), "--threads", "1", "--timing", "--json").stdout)
    settings = track["settings"]
    expected = {"segment": "0.5s", "frames_per_window": 1, "sampling": "random", "seed": 5, "display": "1280x720"}
    assert settings.items() >= (expected | {"precision": "bfloat16", "device": "cpu"}).items()
    assert [len(s["frames"]) for s in track["segments"]] == [1, 1]
    assert "timing" in track


def test_names_of_models_and_paths_are_taken(clip: Path, qclip: Command, tiny_weights: Path) -> None:
    [path] = tiny_weights.glob("qclip-*.safetensors")
    assert qclip(clip, "--json", "--model", path.stem) == qclip(clip, "--json", "--model", path)


# Where output goes


def test_json_is_all_there_is_on_stdout(clip: Path, qclip: Command) -> None:
    done = qclip(clip, "--json")
    assert (done.code, done.stderr) == (0, "")
    assert from_json(done.stdout.encode(), "stdout").complete


def test_the_table_is_for_people(clip: Path, qclip: Command) -> None:
    done = qclip(clip)
    assert (done.code, done.stdout) == (0, "")
    assert "clip.mp4" in done.stderr
    assert "the model tiny is untrained" in done.stderr
    assert qclip(clip, "-q") == type(done)(0, "", "")


@pytest.mark.parametrize("name", ["show [x264].mp4", "[bold]a[blink].mp4", "100% :warning:.mp4", "ünïcødé 最终.mp4"])
def test_the_table_shows_names_as_they_are(
    name: str, clip: Path, qclip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.stderr, "width", 200)
    done = qclip(clip.rename(clip.with_name(name)))
    assert done.code == 0
    assert name in done.stderr


def test_progress_goes_to_stderr_unless_quiet(clip: Path, qclip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PLAIN_PROGRESS_INTERVAL_S", 0.0)
    done = qclip(clip, "--json", "--segment", "0.5")
    json.loads(done.stdout)
    assert [line.partition(",")[0] for line in done.stderr.splitlines()] == [
        "clip.mp4: 0:00 / 0:01",
        "clip.mp4: 0:01 / 0:01",
    ]
    assert qclip(clip, "--json", "-q").stderr == ""


def test_a_name_that_is_not_utf8_is_measured(clip: Path, qclip: Command) -> None:
    """Linux file names are bytes; JSON is UTF-8."""
    path = clip.rename(clip.with_name("caf\udce9.mp4"))
    done = qclip(path, "--json")
    assert done.code == 0
    assert json.loads(done.stdout)["source"]["name"].startswith("caf")


def test_several_inputs_are_an_array_in_order(clip: Path, qclip: Command) -> None:
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes())
    done = qclip("-i", other, clip, "--json")
    assert [t["source"]["name"] for t in json.loads(done.stdout)] == ["other.mp4", "clip.mp4"]
    alone = json.loads(qclip(clip, "--json").stdout)
    assert json.loads(done.stdout)[1] == alone, "the model is loaded once and remembers nothing"


def test_one_that_fails_keeps_its_place(clip: Path, tmp_path: Path, qclip: Command) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    done = qclip(clip, "gone.mp4", tmp_path / "notes.mp4", clip, "--json")
    assert done.code in (1, 2)
    tracks = json.loads(done.stdout)
    assert [t["source"]["name"] for t in tracks] == ["clip.mp4", "gone.mp4", "notes.mp4", "clip.mp4"]
    assert [t["complete"] for t in tracks] == [True, False, False, True]
    assert [len(t["segments"]) for t in tracks] == [1, 0, 0, 1]
    assert "no such file" in tracks[1]["warnings"][0]
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["gone.mp4", "notes.mp4"]
    assert qclip("gone.mp4", "gone2.mp4", "--json").code == 2


def test_ctrl_c_in_the_second_input_keeps_the_first(clip: Path, qclip: Command, monkeypatch: Any) -> None:
    def interrupted(source: str, **options: Any) -> Any:
        if source == "second":
            raise KeyboardInterrupt
        return probe(source, **options)

    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", interrupted)
    done = qclip(clip, "second", "third", "--json")
    assert done.code == 130
    tracks = json.loads(done.stdout)
    assert [t["source"]["name"] for t in tracks] == ["clip.mp4", "second", "third"]
    assert [t["complete"] for t in tracks] == [True, False, False]


def test_ctrl_c_before_anything_was_measured(clip: Path, qclip: Command, monkeypatch: Any) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", interrupted)
    done = qclip(clip, "--json")
    assert (done.code, done.stdout, done.stderr.strip()) == (130, "", "qclip-probe: interrupted")


def test_output_to_a_file(clip: Path, tmp_path: Path, qclip: Command) -> None:
    out = tmp_path / "out.json"
    done = qclip(clip, "-o", out, "-q")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert out.read_text() == qclip(clip, "--json").stdout
    assert qclip(clip, "-o", out).code == 2
    out.write_text("old")
    assert qclip(clip, "-o", out, "-y", "--json").stdout == out.read_text()


def test_sidecars_lie_beside_their_inputs(clip: Path, tmp_path: Path, qclip: Command) -> None:
    done = qclip(clip, "gone.mp4", "--sidecar", "-q")
    assert done.code == 2
    assert done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "clip.mp4.qclip.json"]
    assert from_json((tmp_path / "clip.mp4.qclip.json").read_bytes(), "x").source.name == "clip.mp4"
    assert qclip(clip, "--sidecar", "-q").code == 0, "a sidecar may be written again"


def test_a_reader_that_has_gone_is_no_traceback(clip: Path) -> None:
    """qclip-probe ... --json | head -c 1"""
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait()
        arguments = [str(clip), "--json", "--frames", "1", "-t", "0.1"]
        done = subprocess.run(
            [sys.executable, "-m", "qclip_ffmpeg.cli.probe", *arguments],
            stdout=gone.stdin,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_behind_stdout_is_one_line(clip: Path, qclip: Command) -> None:
    """qclip-probe ... --json > /dev/full"""
    before = os.dup(1)
    try:
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), 1)
        done = qclip(clip, "--json")
    finally:
        os.dup2(before, 1)
        os.close(before)
    assert done.code == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


# Values people type

TYPED = [
    (TimeParam(), "90", Fraction(90)),
    (TimeParam(), "1.5", Fraction(3, 2)),
    (TimeParam(), ".5", Fraction(1, 2)),
    (TimeParam(), "5.", Fraction(5)),
    (TimeParam(), "0", Fraction(0)),
    (TimeParam(), "500ms", Fraction(1, 2)),
    (TimeParam(), "250us", Fraction(1, 4000)),
    (TimeParam(), "4s", Fraction(4)),
    (TimeParam(), "2m", Fraction(120)),
    (TimeParam(), "1h", Fraction(3600)),
    (TimeParam(), "01:30", Fraction(90)),
    (TimeParam(), "5:00", Fraction(300)),
    (TimeParam(), "00:01:30.5", Fraction(181, 2)),
    (TimeParam(), "100:00:00", Fraction(360_000)),
    (SegmentParam(), "keyframes", "keyframes"),
    (SegmentParam(), "0.1", Fraction(1, 10)),
    (SegmentParam(), "4s", Fraction(4)),
    (RatioParam(), "25", Fraction(25)),
    (RatioParam(), "29.97", Fraction(2997, 100)),
    (RatioParam(), "30000/1001", Fraction(30000, 1001)),
    (RatioParam(), "16:9", Fraction(16, 9)),
    (SizeParam(), "1920x1080", (1920, 1080)),
    (SizeParam(), "1x16384", (1, 16384)),
    (DisplayParam(), "1080", (1920, 1080)),
    (DisplayParam(), "720p", (1280, 720)),
    (DisplayParam(), "2160", (3840, 2160)),
    (DisplayParam(), "1440x1080", (1440, 1080)),
    (DisplayParam(), "native", (None, None)),
]
MISTYPED = [
    *((TimeParam(), v) for v in ("", "soon", "-1", "1:2:3:4", "1:75", "1:60:00", "01:30s", "1e3", "4 s", "nan", "5:")),
    *((TimeParam(positive=True), v) for v in ("0", "0.0", "00:00:00", "0ms")),
    *((SegmentParam(), v) for v in ("0", "0.05", "keyframe", "-4s", "")),
    *(
        (RatioParam(), v)
        for v in ("", "fast", "0", "-25", "1/0", "25/1/1", "nan", "inf", "1e99999", "0.0001", "200000")
    ),
    *((SizeParam(), v) for v in ("", "1920", "0x10", "10x0", "-1x5", "1920x1080x2", "99999x1", "1920x1080 ", "axb")),
    *((DisplayParam(), v) for v in ("", "480", "1080i", "4k", "0x0", "Native", "1920*1080")),
]


def readable(value: object) -> str:
    return type(value).__name__ if isinstance(value, click.ParamType) else str(value)


@pytest.mark.parametrize(("kind", "typed", "meant"), TYPED, ids=readable)
def test_values_as_people_type_them(kind: click.ParamType[Any], typed: str, meant: Any) -> None:
    assert kind.convert(typed, None, None) == meant
    assert kind.convert(meant, None, None) == meant, "a default may be the value itself"


@pytest.mark.parametrize(("kind", "typed"), MISTYPED, ids=readable)
def test_mistyped_values_are_named(kind: click.ParamType[Any], typed: str) -> None:
    with pytest.raises(click.BadParameter) as raised:
        kind.convert(typed, None, None)
    assert repr(typed) in raised.value.message


def test_a_sparkline_shows_the_lowest_of_each_stretch() -> None:
    assert console.sparkline([0, 50, 100, None]) == "▁▅█ "
    assert console.sparkline([100.0] * 79 + [0.0]) == "█" * 39 + "▁"
    assert console.sparkline([None, None]) == "  "


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_clock(seconds: float, shown: str) -> None:
    assert console.clock(seconds) == shown


def test_the_bundled_model_is_built_without_the_compiler() -> None:
    """Arithmetic on a model that is only a shape makes torch load its compiler: a second, and a folder left behind."""
    code = (
        "import sys; from qclip_ffmpeg.checkpoint import load_model; load_model(); "
        "print(*(m for m in sys.modules if m in ('torch._dynamo', 'torch._inductor')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
