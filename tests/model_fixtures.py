"""Fixtures and builders that need the model or the command: a shared scorer, a tiny random model, qclip-probe in process.

Test modules ask for them with `pytest_plugins = ["model_fixtures"]`.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from qclip_ffmpeg import checkpoint
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, SUFFIX, Card, load_model, save_checkpoint
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.probe import command
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.model import STATISTICS, ModelConfig, QClip, TowerConfig
from qclip_ffmpeg.scorer import Scorer

TINY_TOWER_FILE = "tiny-tower.safetensors"
TINY_TOWER = TowerConfig(
    architecture="tiny",
    width=16,
    heads=2,
    patch_px=32,
    image_px=224,
    blocks=2,
    image_mean=(0.5, 0.4, 0.3),
    image_std=(0.25, 0.26, 0.27),
)
TINY = ModelConfig(tower=TINY_TOWER, views=("whole", "mosaic"), exit_blocks=(1, 2), statistics=STATISTICS)


def random_qclip(config: ModelConfig = TINY, seed: int = 0) -> QClip:
    """A model with random tensors, the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    qclip = QClip(config).eval().requires_grad_(False)
    for tensor in qclip.parameters():
        tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return qclip


def head_tensors(qclip: QClip) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of a model."""
    return {name: tensor for name, tensor in qclip.state_dict().items() if name.startswith("head.")}


def write_tower(folder: Path, qclip: QClip) -> str:
    """Write the tower file and return its sha256."""
    path = folder / TINY_TOWER_FILE
    save_file(dict(qclip.tower.state_dict()), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tiny_card(tower_sha256: str, **changes: Any) -> Card:
    """The card of the tiny model."""
    card = Card(
        id="tiny",
        status="untrained",
        description="random numbers",
        config=TINY,
        tower_file=TINY_TOWER_FILE,
        tower_sha256=tower_sha256,
        display="1920x1080",
        frames_per_window=2,
    )
    return msgspec.structs.replace(card, **changes)


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    """The bundled model on the CPU."""
    return Scorer(load_model(), "cpu", threads=2)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder whose default model is the tiny one."""
    folder = tmp_path_factory.mktemp("weights")
    qclip = random_qclip()
    save_checkpoint(folder / (DEFAULT_MODEL + SUFFIX), tiny_card(write_tower(folder, qclip)), head_tensors(qclip))
    return folder


@pytest.fixture
def tiny_weights(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package finds its weights in `tiny_folder`: everything is real, and starts and scores in no time."""
    monkeypatch.setattr(checkpoint, "WEIGHTS_DIR", tiny_folder)
    return tiny_folder


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def qclip_probe(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """qclip_probe(*arguments, stdin=None) -> Result: the command in this process, as its entry point runs it.

    stdin: a path, or the arguments of an ffmpeg that writes to a pipe; nothing (an empty file) when None.
    """

    def probe(*arguments: str | Path, stdin: Path | list[str] | None = None) -> Result:
        capfd.readouterr()
        with standard_input(stdin), pytest.raises(SystemExit) as ended:
            console.run_command(command, [str(a) for a in arguments])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return probe


@contextmanager
def standard_input(source: Path | list[str] | None) -> Iterator[None]:
    """File descriptor 0 reads from a file, or from an ffmpeg run with the given arguments through a pipe."""
    with subprocess.Popen(
        [bundled_executable(), "-v", "error", "-nostdin", *source]
        if isinstance(source, list)
        else ["cat", str(source or os.devnull)],
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
