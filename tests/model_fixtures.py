"""Fixtures that need the model or the command: a shared scorer, a tiny model in place of the bundled one, qclip-probe.

Test modules ask for them with `pytest_plugins = ["model_fixtures"]`.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import random_qclip, tiny_card, write_tower

from qclip_ffmpeg import checkpoint
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, SUFFIX, load_model, save_checkpoint
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.probe import command
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.scorer import Scorer


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and lose much where other processes keep the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    """The bundled model on the CPU."""
    return Scorer(load_model(), "cpu", threads=2)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder whose default model is the tiny one."""
    folder = tmp_path_factory.mktemp("weights")
    qclip = random_qclip()
    save_checkpoint(folder / (DEFAULT_MODEL + SUFFIX), tiny_card(write_tower(folder, qclip)), qclip.trained_tensors())
    return folder


@pytest.fixture
def tiny_weights(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package finds its weights in `tiny_folder`: everything is real, and starts and scores in no time."""
    monkeypatch.setattr(checkpoint, "WEIGHTS_DIR", tiny_folder)
    return tiny_folder


@pytest.fixture
def tiny_scorer(tiny_weights: Path) -> Scorer:
    return Scorer(load_model(), "cpu", threads=2)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def qclip_probe(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """qclip_probe(*arguments, stdin=None) -> Result: the command in this process, as its entry point runs it.

    stdin: a path, or the arguments of an ffmpeg that writes to a pipe; nothing (an empty pipe) when None.
    """

    def probe(*arguments: str | Path, stdin: Path | list[str] | None = None) -> Result:
        capfd.readouterr()
        with standard_input(stdin), pytest.raises(SystemExit) as ended:
            console.run_command(command, [str(a) for a in arguments])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return probe


@pytest.fixture
def stdin_from() -> Callable[[Path | list[str] | None], AbstractContextManager[None]]:
    """`with stdin_from(source):` standard input comes through a pipe, see `standard_input`."""
    return standard_input


@contextmanager
def standard_input(source: Path | list[str] | None) -> Iterator[None]:
    """File descriptor 0 is a pipe that a file, or an ffmpeg run with the given arguments, is written to."""
    ffmpeg = [bundled_executable(), "-v", "error", "-nostdin", "-y"]
    with subprocess.Popen(
        [*ffmpeg, *source] if isinstance(source, list) else ["cat", str(source or os.devnull)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        before = os.dup(0)
        os.dup2(writer.stdout.fileno(), 0)
        writer.stdout.close()
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)
            writer.kill()


@pytest.fixture
def qclip(qclip_probe: Callable[..., Any], tiny_weights: Path) -> Callable[..., Any]:
    """The command on the tiny model."""
    return qclip_probe
