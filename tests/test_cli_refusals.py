"""How qclip-probe says no: one line with what, where and what next, and an exit code that is never 0."""

import json
import shlex
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytest_plugins = ["model_fixtures"]

RAW = ("-f", "rawvideo", "-s", "320x180", "-r", "25", "-pix_fmt", "yuv420p")
Command = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, media: Callable[..., Path], tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, full of things that cannot be measured."""
    here = tmp_path
    monkeypatch.chdir(here)
    (here / "clip.mp4").write_bytes(media("cli.mp4", 1, c="libx264", preset="ultrafast").read_bytes())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (here / "notes.txt").write_text("Not a video.\n" * 50)
    (here / "notes.mp4").write_text("Not a video.\n" * 50)
    (here / "empty.mp4").write_bytes(b"")
    (here / "garbage.mp4").write_bytes(bytes((i * i * 31 + i // 7) % 256 for i in range(50_000)))
    (here / "data.bin").write_bytes(bytes(range(256)) * 100)
    (here / "subtitles.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    (here / "season 1").mkdir()
    index_last = media(
        "tail.mp4", 4, c="libx264", qp=0, preset="ultrafast", filters="noise=alls=99:allf=t"
    ).read_bytes()
    (here / "tail.mp4").write_bytes(index_last)  # of several MB: too long to be kept until its index comes
    (here / "cut.mp4").write_bytes(index_last[: len(index_last) * 3 // 4])
    write_silence(here / "tone.wav")
    (here / "frames.yuv").write_bytes(bytes(320 * 180 * 3 // 2))
    (here / "taken.json").write_text("{}")
    [weights] = tiny_weights.glob("qclip-*.safetensors")
    (here / "broken.safetensors").write_bytes(weights.read_bytes()[:-9])
    save_file({"layer.weight": torch.zeros(2)}, here / "foreign.safetensors")
    torch.save({}, here / "best.pth")
    return here


def write_silence(path: Path) -> None:
    """A tenth of a second, with no picture."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 800, "NONE", ""))
        file.writeframes(bytes(1600))


REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "no input": ("", 2, ["no input", "name a file"]),
    "missing": ("gone.mp4", 2, ["gone.mp4", "no such file", "check the path"]),
    "folder": ("'season 1'", 2, ["season 1", "folder", "name the video files"]),
    "text": ("notes.txt", 1, ["notes.txt", "not a video", "check it"]),
    "text as mp4": ("notes.mp4", 1, ["notes.mp4", "not a video", "check it"]),
    "binary data": ("data.bin", 1, ["data.bin", "not a video"]),
    "empty": ("empty.mp4", 1, ["empty.mp4"]),
    "garbage": ("garbage.mp4", 1, ["garbage.mp4", "check it"]),
    "no index": ("cut.mp4", 1, ["cut.mp4", "cut off before its index", "download it again"]),
    "audio": ("tone.wav", 1, ["tone.wav", "no video stream", "found audio", "give a file"]),
    "subtitles": ("subtitles.srt", 1, ["subtitles.srt", "no video stream"]),
    "long name": ("a" * 300 + ".mp4", 2, ["aaa.mp4"]),
    "raw without size": ("frames.yuv -f rawvideo", 2, ["-f rawvideo", "-s WIDTHxHEIGHT"]),
    "size without raw": ("clip.mp4 -s 320x180", 2, ["-s", "add -f rawvideo"]),
    "pixel format without raw": ("clip.mp4 -pix_fmt yuv420p", 2, ["-pix_fmt", "add -f rawvideo"]),
    "raw frame too large": ("frames.yuv -f rawvideo -s 640x360", 1, ["frames.yuv", "check"]),
    "unknown format": ("clip.mp4 -f matroskaaa", 2, ["-f matroskaaa", "ffmpeg -demuxers"]),
    "another format": ("clip.mp4 -f flv", 1, ["clip.mp4"]),
    "unknown pixel format": ("frames.yuv -f rawvideo -s 320x180 -pix_fmt yuv421p", 2, ["yuv421p", "ffmpeg -pix_fmts"]),
    "hardware pixels": ("frames.yuv -f rawvideo -s 320x180 -pix_fmt cuda", 1, ["frames.yuv"]),
    "start beyond the end": ("clip.mp4 -ss 1:00", 1, ["clip.mp4", "earlier -ss"]),
    "start far beyond the end": ("clip.mp4 -ss 99999999999999999999", 1, ["clip.mp4", "earlier -ss"]),
    "broken weights": ("clip.mp4 --model broken.safetensors", 1, ["broken.safetensors", "damaged"]),
    "foreign weights": ("clip.mp4 --model foreign.safetensors", 1, ["foreign.safetensors", "not a Q-CLIP checkpoint"]),
    "pickled weights": ("clip.mp4 --model best.pth", 1, ["best.pth", "not a safetensors file"]),
    "missing weights": ("clip.mp4 --model gone.safetensors", 2, ["gone.safetensors", "no such file", "qclip-vitb16"]),
    "unknown model": ("clip.mp4 --model qclip-large", 2, ["qclip-large", "no such model", "qclip-vitb16"]),
    "no model": ("clip.mp4 --model ''", 2, ["--model", "qclip-vitb16"]),
    "no CUDA": ("clip.mp4 --device cuda", 2, ["--device cuda", "use --device cpu"]),
    "stdin twice": ("- -", 2, ["- is given twice"]),
    "sidecar of stdin": ("- --sidecar", 2, ["--sidecar", "- is not a file", "-o"]),
    "sidecar of a URL": ("http://127.0.0.1:9/a.mp4 --sidecar", 2, ["--sidecar", "127.0.0.1:9/a.mp4", "-o"]),
    "output exists": ("clip.mp4 -o taken.json", 2, ["taken.json", "exists", "-y"]),
    "output is the input": ("clip.mp4 -o clip.mp4 -y", 2, ["clip.mp4", "one of the inputs"]),
    "output is a folder": ("clip.mp4 -o 'season 1' -y", 2, ["season 1", "choose another"]),
    "output in no folder": ("clip.mp4 -o gone/out.json", 2, ["gone/out.json", "existing folder"]),
    "output in no writable folder": ("clip.mp4 -o /proc/out.json", 2, ["/proc/out.json", "choose another"]),
    "unknown option": ("clip.mp4 --segments 4s", 2, ["--segments", "--help"]),
    "mistyped ffmpeg option": ("clip.mp4 -pixfmt yuv420p", 2, ["-p", "--help"]),
    "not a time": ("clip.mp4 -ss soon", 2, ["-ss", "soon", "HH:MM:SS"]),
    "no time": ("clip.mp4 -t 0", 2, ["-t", "'0'"]),
    "not a size": ("frames.yuv -f rawvideo -s 320", 2, ["-s", "320", "1920x1080"]),
    "not a rate": ("frames.yuv -f rawvideo -s 320x180 -r fast", 2, ["-r", "fast", "30000/1001"]),
    "not a segment": ("clip.mp4 --segment 1ms", 2, ["--segment", "1ms"]),
    "not a display": ("clip.mp4 --display 4k", 2, ["--display", "4k"]),
    "no frames": ("clip.mp4 --frames 0", 2, ["--frames", "0"]),
    "refused connection": ("http://127.0.0.1:9/a.mp4", 1, ["127.0.0.1:9/a.mp4", "check"]),
    "no address": ("clip.mp4 'http://[::1/a.mp4'", 2, ["not a URL", "check"]),
    "unknown protocol": ("gopher9://127.0.0.1/a.mp4", 2, ["gopher9://127.0.0.1/a.mp4", "relay"]),
}


def one_line(done: Any, said: list[str]) -> None:
    assert done.stdout == ""
    assert done.stderr.startswith("qclip-probe: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_one_clear_line(what: str, folder: Path, qclip: Command) -> None:
    """What, where, what next; nothing on standard output; an exit code that says whose fault it is."""
    typed, code, said = REFUSED[what]
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    done = qclip(*shlex.split(typed))
    one_line(done, said)
    assert done.code == code
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("sent", "arguments", "said"),
    [
        ("empty.mp4", [], ["standard input", "nothing arrived"]),
        ("garbage.mp4", [], ["standard input", "-f rawvideo -s WxH", "nut"]),
        ("notes.txt", [], ["standard input"]),
        ("cut.mp4", [], ["standard input", "+faststart"]),
        ("tail.mp4", [], ["standard input", "+faststart"]),
        ("frames.yuv", ["-f", "rawvideo", "-s", "640x360"], ["standard input", "-s"]),
        ("empty.mp4", [*RAW], ["standard input"]),
    ],
)
def test_what_cannot_be_read_from_a_pipe(
    sent: str, arguments: list[str], said: list[str], folder: Path, qclip: Command
) -> None:
    done = qclip("-", "--json", *arguments, stdin=folder / sent)
    one_line(done, said)
    assert done.code == 1


@pytest.mark.parametrize("size", ["322x180", "310x180"])
def test_a_size_that_is_not_the_senders_is_noticed(size: str, media: Callable[..., Path], qclip: Command) -> None:
    """The stream then ends within a frame: it is measured, but never with exit code 0."""
    raw = media("cli.yuv", 1, f="rawvideo", pix_fmt="yuv420p")
    done = qclip("-", "-f", "rawvideo", "-s", size, "--json", stdin=raw)
    assert done.code == 1
    assert "-s" in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["complete"] is False


@pytest.mark.parametrize("more", [["--json"], ["--sidecar"], ["other", "--json"]])
def test_secrets_of_a_url_are_not_repeated(more: list[str], qclip: Command) -> None:
    done = qclip("http://me:hunter2@127.0.0.1:9/a.mp4?signature=hunter2&expires=" + "1" * 300, *more)
    assert done.code in (1, 2)
    assert "127.0.0.1:9/a.mp4" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
