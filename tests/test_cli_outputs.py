"""Where qclip-probe's results go: -of and -o in pairs, --write-metadata, --from-sidecar, and how they are refused."""

import errno
import json
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_track import tiny_track

from qclip_ffmpeg.contents import contents
from qclip_ffmpeg.emit.registry import FORMATS
from qclip_ffmpeg.emit.remux import CONTAINERS
from qclip_ffmpeg.emit.sidecar import from_json, to_json
from qclip_ffmpeg.errors import OutputError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.files import check_writable, not_written, write_atomically
from qclip_ffmpeg.track import FrameTime

pytest_plugins = ["model_fixtures"]

Command = Callable[..., Any]
TRACK = tiny_track()


@pytest.fixture
def folder(tmp_path: Path, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two clips, and a sidecar beside each, so that nothing needs to be measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qclip_ffmpeg.ffmpeg.executable", bundled_executable)
    video = media("emit.mp4", 1.2, (192, 108), c="libx264", preset="ultrafast").read_bytes()
    for name in ("clip.mp4", "other.mp4"):
        (tmp_path / name).write_bytes(video)
        (tmp_path / f"{name}.qclip.json").write_bytes(to_json(tiny_track(name=name)))
    (tmp_path / "taken.csv").write_text("mine")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clip.mp4").write_bytes(video)
    (tmp_path / "link.mkv").symlink_to("clip.mp4")
    (tmp_path / "notes.mp4").write_text("Not a video.")
    return tmp_path


@pytest.fixture
def emit(folder: Path, qclip_probe: Command) -> Command:
    """emit("clip.mp4 -of csv") -> Result: of the track beside the clip."""
    return lambda typed: qclip_probe(*shlex.split(typed), "--from-sidecar", "-q")


@pytest.mark.parametrize("name", FORMATS)
def test_one_format_goes_to_stdout(name: str, emit: Command) -> None:
    for spelling in (f"-of {name}", f"-output_format {name}", f"--output-format={name}", f"-of {name} -o -"):
        done = emit(f"clip.mp4 {spelling}")
        assert (done.code, done.stdout.encode(), done.stderr) == (0, FORMATS[name].one(TRACK), "")


def test_every_format_and_container_is_in_the_help_and_on_its_page(qclip_probe: Command) -> None:
    shown = " ".join(qclip_probe("--help").stdout.split())
    page = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
    assert f"{', '.join(FORMATS)}. [default" in shown
    for form in FORMATS.values():
        assert f"| `{form.name}` | {' '.join(f'`{suffix}`' for suffix in form.suffixes)} |" in page
    assert all(f"`{suffix}`" in page for suffix in CONTAINERS)


def test_json_is_short_for_a_format(emit: Command) -> None:
    assert emit("clip.mp4 --json") == emit("clip.mp4 -of json") == emit("clip.mp4 -of json -o -")


def test_each_format_goes_with_the_file_at_its_place(emit: Command, folder: Path) -> None:
    done = emit("clip.mp4 -of csv -o a.txt -of lavfi -o - -o b.json -of webvtt")
    assert (done.code, done.stdout.encode()) == (0, FORMATS["lavfi"].one(TRACK))
    assert (folder / "a.txt").read_bytes() == FORMATS["csv"].one(TRACK)
    assert (folder / "b.json").read_bytes() == FORMATS["webvtt"].one(TRACK), "-of wins over the name"


def test_names_say_formats_where_nothing_else_does(emit: Command, folder: Path) -> None:
    names = {form.name: f"t{form.suffixes[-1]}" for form in FORMATS.values()}
    done = emit("clip.mp4 --json " + " ".join(f"-o {name}" for name in names.values()))
    assert (done.code, done.stdout.encode()) == (0, to_json(TRACK))
    for name, path in names.items():
        assert (folder / path).read_bytes() == FORMATS[name].one(TRACK)


def test_several_inputs_in_one_file(emit: Command) -> None:
    tracks = [tiny_track(name=name) for name in ("clip.mp4", "other.mp4")]
    for form in FORMATS.values():
        if form.several:
            done = emit(f"clip.mp4 other.mp4 -of {form.name}")
            assert (done.code, done.stdout.encode()) == (0, form.several(tracks))


def test_writing_metadata(emit: Command, folder: Path) -> None:
    before = (folder / "clip.mp4").read_bytes()
    done = emit("clip.mp4 --write-metadata out.mkv -o t.csv")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert contents(folder / "out.mkv").tags["QCLIP_MEAN"] == "40.188"
    assert (folder / "t.csv").read_bytes() == FORMATS["csv"].one(TRACK)
    assert emit("clip.mp4 --write-metadata out.mkv").code == 2, "it exists"
    assert emit("clip.mp4 --write-metadata out.mkv -y").code == 0
    assert (folder / "clip.mp4").read_bytes() == before


def test_all_at_once_from_one_measurement(folder: Path, qclip: Command) -> None:
    """What is measured is what is written everywhere; the sidecar written beside it gives the same again."""
    done = qclip("clip.mp4", "-o", "t.json", "-o", "t.vtt", "--write-metadata", "out.mp4", "--sidecar")
    assert (done.code, done.stdout) == (0, "")
    assert "clip.mp4" in done.stderr, "the table is still shown"
    track = from_json((folder / "t.json").read_bytes(), "t")
    assert track.model.id == "tiny"
    assert (folder / "t.vtt").read_bytes() == FORMATS["webvtt"].one(track)
    assert [c.tags["title"] for c in contents(folder / "out.mp4").chapters] == [
        f"qclip {s.score:.4f}".rstrip("0") + "".join(f" {flag}" for flag in s.flags) for s in track.segments
    ]
    again = qclip("clip.mp4", "--from-sidecar", "-of", "webvtt")
    assert again.stdout.encode() == (folder / "t.vtt").read_bytes()


def test_a_track_that_is_not_whole_is_written_and_said(emit: Command, folder: Path) -> None:
    broken = msgspec.structs.replace(TRACK, complete=False, warnings=["the stream broke off"])
    (folder / "clip.mp4.qclip.json").write_bytes(to_json(broken))
    done = emit("clip.mp4 -of csv")
    assert (done.code, done.stdout.encode()) == (1, FORMATS["csv"].one(broken))
    assert "clip.mp4: incomplete: the stream broke off" in done.stderr


REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "unknown format": ("clip.mp4 -of xml", 2, ["-of xml", "no such output format", "json, ndjson, csv, events, lavfi"]),
    "name without a format": ("clip.mp4 -o t.txt", 2, ["-o t.txt", "add -of"]),
    "fewer formats than files": ("clip.mp4 -o a.json -of csv -o b.txt", 2, ["-of (1) and -o (2) do not pair"]),
    "more formats than files": ("clip.mp4 -of csv -of ass -o t.ass", 2, ["-of (2) and -o (1) do not pair"]),
    "several formats, no file": ("clip.mp4 -of csv -of ass", 2, ["-of (2) and -o (0) do not pair", "- is stand"]),
    "two on stdout": ("clip.mp4 --json -of csv", 2, ["standard output can take one format", "-o"]),
    "one file twice": ("clip.mp4 -of csv -o a -of ass -o ./a", 2, ["-o a", "written twice"]),
    "one file for two things": ("clip.mp4 -of csv -o a.mkv --write-metadata a.mkv", 2, ["a.mkv", "written twice"]),
    "exists": ("clip.mp4 -o taken.csv", 2, ["-o taken.csv", "exists", "-y"]),
    "is the input": ("clip.mp4 -of csv -o clip.mp4 -y", 2, ["-o clip.mp4", "one of the inputs"]),
    "is another input": ("clip.mp4 other.mp4 -of csv -o other.mp4 -y", 2, ["-o other.mp4", "one of the inputs"]),
    "links to the input": ("clip.mp4 -of csv -o link.mkv -y", 2, ["-o link.mkv", "one of the inputs"]),
    "is a folder": ("clip.mp4 -of csv -o sub -y", 2, ["-o sub", "choose another place"]),
    "in no folder": ("clip.mp4 -of csv -o gone/t.csv", 2, ["gone/t.csv", "existing folder"]),
    "in a folder nobody can write to": ("clip.mp4 -of csv -o /proc/t.csv", 2, ["/proc", "cannot be written"]),
    "full disk": ("clip.mp4 -of csv -o /dev/full", 1, ["/dev/full", "No space left on device", "choose another"]),
    "one video only": (
        "clip.mp4 other.mp4 -of ass",
        2,
        ["-of ass", "one video", "json, ndjson, csv, events, prometheus"],
    ),
    "names alike": ("clip.mp4 sub/clip.mp4 -of prometheus", 2, ["-of prometheus", "two inputs named clip.mp4"]),
    "plot exists": ("clip.mp4 --plot taken.csv", 2, ["--plot taken.csv", "exists", "-y"]),
    "plot is the input": ("clip.mp4 --plot clip.mp4 -y", 2, ["--plot clip.mp4", "one of the inputs"]),
    "plot in no folder": ("clip.mp4 --plot gone/t.png", 2, ["--plot gone/t.png", "existing folder"]),
    "plot nobody can write": ("clip.mp4 --plot /proc/t.png", 2, ["/proc", "cannot be written"]),
    "plot on stdout": ("clip.mp4 --plot -", 2, ["--plot -", "a picture goes to a file"]),
    "report exists": ("clip.mp4 --html taken.csv", 2, ["--html taken.csv", "exists", "-y"]),
    "report links to the input": ("clip.mp4 --html link.mkv -y", 2, ["--html link.mkv", "one of the inputs"]),
    "report is the plot": ("clip.mp4 --plot t --html t", 2, ["t", "written twice"]),
    "report on stdout": ("clip.mp4 --html -", 2, ["--html -", "a picture goes to a file"]),
    "report on a full disk": ("clip.mp4 --html /dev/full", 1, ["/dev/full", "No space left on device"]),
    "too many to tell apart": ("clip.mp4 " * 7 + "--html t.html", 2, ["--html", "6 inputs at most, not 7"]),
    "a picture with -o": ("clip.mp4 -o t.png", 2, ["-o t.png", "--plot and --html"]),
    "copy is the input": ("clip.mp4 --write-metadata clip.mp4 -y", 2, ["--write-metadata clip.mp4", "one of the in"]),
    "copy links to the input": ("clip.mp4 --write-metadata link.mkv -y", 2, ["link.mkv", "one of the inputs"]),
    "copy of two": ("clip.mp4 other.mp4 --write-metadata out.mkv", 2, ["--write-metadata out.mkv", "one input"]),
    "track of a pipe": ("- --write-metadata out.mkv", 2, ["--from-sidecar: - is not a file"]),
    "copy to mpegts": ("clip.mp4 --write-metadata out.ts", 2, ["out.ts", "is no container that keeps", ".mkv"]),
    "copy to nothing": ("clip.mp4 --write-metadata out", 2, ["out", "without a suffix", ".mkv"]),
    "copy in no folder": ("clip.mp4 --write-metadata gone/out.mkv", 2, ["gone/out.mkv", "existing folder"]),
    "copy nobody can write": ("clip.mp4 --write-metadata /proc/out.mkv", 2, ["/proc", "cannot be written"]),
    "copy of no video": ("notes.mp4 --write-metadata out.mkv", 1, ["notes.mp4", "cannot be read"]),
    "no sidecar": ("sub/clip.mp4 -of csv", 2, ["sub/clip.mp4.qclip.json", "cannot be read", "--sidecar"]),
    "settings beside a sidecar": ("clip.mp4 -of csv --segment 2s", 2, ["--from-sidecar", "--segment would do nothing"]),
    "both sidecars": ("clip.mp4 --sidecar", 2, ["--from-sidecar", "--sidecar would do nothing"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_written_is_one_clear_line(what: str, emit: Command, folder: Path) -> None:
    """Before anything is measured where it can be known; no file is touched, none is left behind."""
    typed, code, said = REFUSED[what]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = emit(typed)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith("qclip-probe: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for words in said:
        assert words in done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.fixture
def scored(folder: Path) -> Path:
    """The sidecars say which frames were scored; the clips hold them."""
    frames = [FrameTime(512 * n, n / 25) for n in (3, 12)]
    for name in ("clip.mp4", "other.mp4"):
        track = tiny_track(name=name)
        segments = [msgspec.structs.replace(segment, frames=frames) for segment in track.segments]
        sidecar = to_json(msgspec.structs.replace(track, segments=segments))
        (folder / f"{name}.qclip.json").write_bytes(sidecar)
    return folder


def test_pictures(emit: Command, scored: Path) -> None:
    done = emit("clip.mp4 other.mp4 --plot t.png --html t.html --json")
    assert (done.code, done.stderr, len(json.loads(done.stdout))) == (0, "", 2)
    assert (scored / "t.png").read_bytes().startswith(b"\x89PNG")
    report = (scored / "t.html").read_text()
    assert report.count('src="data:image/jpeg;base64,') == 2 * 2 * 2, "videos, segments with a score, frames"
    again = emit("clip.mp4 other.mp4 --plot u.png --html u.html")
    assert (again.code, again.stdout) == (0, "")
    assert (scored / "u.png").read_bytes() == (scored / "t.png").read_bytes()
    assert (scored / "u.html").read_text() == report


def test_a_report_of_a_pipe_has_no_frames_and_says_so(folder: Path, qclip: Command, media: Callable[..., Path]) -> None:
    piped = media("piped.mkv", 1, (192, 108), c="libx264", preset="ultrafast")
    done = qclip("-", "--html", "t.html", "--plot", "t.png", "-q", stdin=piped)
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.count("\n") == 1
    assert "--html: -: the scored frames are not shown, only a file can be read a second time" in done.stderr
    assert "<img" not in (folder / "t.html").read_text()


def test_what_is_measured_is_what_is_shown(folder: Path, qclip: Command) -> None:
    """With options of how to read the input; and a name that would do harm."""
    name = "<img src=x onerror=alert(1)>.mp4"
    (folder / "clip.mp4").rename(folder / name)
    done = qclip(name, "-ss", "0.4", "--segment", "0.4s", "--html", "t.html", "-q")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    report = (folder / "t.html").read_text()
    assert report.count("<figure><img src=") == 2 * 2, "segments, frames of the tiny model"
    assert "<img src=x" not in report


def test_a_report_of_what_was_followed_live(folder: Path, qclip: Command) -> None:
    done = qclip("clip.mp4", "--live", "--idle", "0.1", "--html", "t.html", "-q")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "summary"
    assert "<figure><img src=" in (folder / "t.html").read_text()


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(
    folder: Path, qclip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", lambda *_, **__: pytest.fail("measured"))
    done = qclip("clip.mp4", "--plot", "t.png")
    assert (done.code, done.stderr) == (2, "qclip-probe: a plot needs matplotlib; pip install 'qclip-ffmpeg[plot]'\n")


def test_a_sidecar_of_another_file_is_refused(emit: Command, folder: Path) -> None:
    (folder / "clip.mp4.qclip.json").write_bytes(to_json(tiny_track(name="old.mp4")))
    done = emit("clip.mp4 -of csv")
    assert (done.code, done.stdout) == (1, "")
    assert "is the track of old.mp4, not of clip.mp4" in done.stderr


def test_one_that_cannot_be_written_does_not_stop_the_others(emit: Command, folder: Path) -> None:
    done = emit("clip.mp4 -of csv -o /dev/full -of ass -o t.ass -of lavfi -o -")
    assert (done.code, done.stdout.encode()) == (1, FORMATS["lavfi"].one(TRACK))
    assert (folder / "t.ass").read_bytes() == FORMATS["ass"].one(TRACK)


@pytest.mark.parametrize("typed", ["-of json -o t.json -y", "--write-metadata out.mkv -y"])
def test_a_full_disk_leaves_what_was_there(typed: str, folder: Path) -> None:
    """A limit on the size of files fails as a full disk does: in the middle of writing."""
    (folder / "t.json").write_text("old")
    (folder / "out.mkv").write_text("old")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "qclip_ffmpeg.cli.probe", "clip.mp4", "--from-sidecar", "-q", *typed.split()],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert any(name in done.stderr for name in ("t.json", "out.mkv"))
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_full_disk_is_not_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(not_written(tmp_path, OSError(errno.EDQUOT, "quota")), OutputError)
    assert isinstance(not_written(tmp_path, OSError(errno.EACCES, "no")), UsageError)
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(Path("/dev/full"), b"x")
    with pytest.raises(UsageError, match="x: cannot be written"):
        check_writable(tmp_path / "gone" / "x")
    check_writable(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_writes_what_was_measured_and_copies_nothing(
    folder: Path, qclip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qclip_ffmpeg.measurement import INTERRUPTED

    stopped = msgspec.structs.replace(TRACK, complete=False, warnings=[INTERRUPTED])
    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", lambda *_, **__: stopped)
    done = qclip("clip.mp4", "-o", "t.json", "--write-metadata", "out.mkv", "-q")
    assert done.code == 130
    assert json.loads((folder / "t.json").read_text())["complete"] is False
    assert not (folder / "out.mkv").exists()


def test_a_live_file_that_cannot_be_written_does_not_stop_the_others(folder: Path, qclip: Command) -> None:
    done = qclip("clip.mp4", "--live", "--idle", "0.1", "-o", "t.ndjson", "-of", "ndjson", "-q", "-y")
    assert done.code == 0
    options = ["-of", "ndjson", "-o", "/dev/full", "-of", "ndjson", "-o", "t2.ndjson", "-of", "csv", "-o", "t.csv"]
    done = qclip("clip.mp4", "--live", "--idle", "0.1", *options, "-q")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.count("/dev/full") == 1, "said once"
    assert (folder / "t2.ndjson").read_bytes() == (folder / "t.ndjson").read_bytes()
    assert (folder / "t.csv").exists()


@pytest.mark.parametrize("source", [".", "-", "http://localhost/x.mp4"])
def test_what_has_no_sidecar_beside_it(source: str, emit: Command, folder: Path, qclip: Command) -> None:
    for option in ("--from-sidecar", "--sidecar"):
        done = qclip(source, option)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"qclip-probe: {option}: ")


def test_a_sidecar_older_than_its_video_is_said(emit: Command, folder: Path) -> None:
    os.utime(folder / "clip.mp4", (2e9, 2e9))
    done = emit("clip.mp4 -of csv")
    assert done.code == 0
    assert "clip.mp4.qclip.json: is older than clip.mp4" in done.stderr


@pytest.mark.parametrize("options", [("--plot", "t.jpg"), ("--html", "t.png")])
def test_pictures_are_named_after_what_they_are(options: tuple[str, str], folder: Path, qclip: Command) -> None:
    done = qclip("clip.mp4", *options)
    assert (done.code, done.stdout) == (2, "")
    assert "give a name that ends so" in done.stderr


def test_a_file_named_like_standard_input_is_not_it(folder: Path, qclip: Command) -> None:
    (folder / "clip.mp4").rename(folder / "-")
    done = qclip("-", "--write-metadata", "t.mkv", stdin=folder / "-")
    assert (done.code, done.stdout) == (2, "")
    assert "copies one input, a file" in done.stderr
