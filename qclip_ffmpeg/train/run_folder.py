"""What a training run keeps in its folder: the state that a killed run goes on from, its log, and its model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qclip_ffmpeg.checkpoint import Card, LoadedModel, save_checkpoint
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.track import ModelStatus

STATE_FILE, LOG_FILE, CURVES_FILE, MODEL_FILE = "state.safetensors", "log.jsonl", "curves.png", "model.safetensors"
NOW, BEST, MOMENTS = "now.", "best.", "optimiser."  # how the names of a state's tensors begin
UNMAPPED = (1.0, 0.0)  # the score map that changes nothing


class EpochRow(Struct, omit_defaults=True):
    """One line of the log."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the steps of PLCC loss + rank_weight x rank loss."""
    plcc_loss: float
    rank_loss: float
    learning_rate: float
    """At the end of the epoch."""
    val_srocc: float | None = None
    val_plcc: float | None = None
    """Of the raw score."""
    best: bool = False
    """This epoch's tensors are the result."""


class State(NamedTuple):
    """All that a killed run needs to go on."""

    rows: list[EpochRow]
    spent_s: float
    scaler: dict[str, Any]
    """Of the gradients' scaler."""
    now: dict[str, Tensor]
    """What is trained, as it is after the last of the rows."""
    best: dict[str, Tensor]
    """The same, after the best of them."""
    moments: dict[str, Tensor]
    """Of the optimiser, by "name of the parameter.key"."""


def write_state(folder: Path, run_id: str, state: State) -> None:
    """Write a state as one file.

    Raises:
        UsageError: it cannot be written.
    """
    parts = ((NOW, state.now), (BEST, state.best), (MOMENTS, state.moments))
    about = {
        "run_id": run_id,
        "spent_s": str(state.spent_s),
        "rows": msgspec.json.encode(state.rows).decode(),
        "scaler": json.dumps(state.scaler),
    }
    tensors = {f"{begin}{name}": tensor.contiguous() for begin, part in parts for name, tensor in part.items()}
    write_atomically(folder / STATE_FILE, save(tensors, metadata=about))


def read_state(folder: Path, run_id: str) -> State | None:
    """The state of this very run, if its folder holds one.

    Raises:
        UsageError: it is damaged, or that of another run; see `refuse_another_run`.
    """
    if not refuse_another_run(folder, run_id):
        return None
    with safe_open(folder / STATE_FILE, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    now, best, moments = (
        {name.removeprefix(begin): tensor for name, tensor in tensors.items() if name.startswith(begin)}
        for begin in (NOW, BEST, MOMENTS)
    )
    try:
        rows = msgspec.json.decode(about["rows"], type=list[EpochRow])
        return State(rows, float(about["spent_s"]), json.loads(about["scaler"]), now, best, moments)
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise damaged(folder / STATE_FILE, error) from None


def damaged(path: Path, error: Exception) -> UsageError:
    """What is said of a state that nothing can go on from."""
    return UsageError(f"{path}: is damaged ({error}); choose another -o to start again")


def refuse_another_run(folder: Path, run_id: str) -> bool:
    """Whether a folder holds the beginning of this very run; without one it may hold no results.

    Raises:
        UsageError: it holds another run, or results of one that cannot be told.
    """
    path = folder / STATE_FILE
    if not path.exists():
        if found := [name for name in (LOG_FILE, MODEL_FILE) if (folder / name).exists()]:
            raise UsageError(f"{folder}: holds {found[0]} but no state to go on from; choose another -o")
        return False
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from None
    if about.get("run_id") != run_id:
        raise UsageError(f"{folder}: holds a run with another preset or other data; choose another -o")
    return True


def write_log(folder: Path, rows: Sequence[EpochRow]) -> None:
    """Write the log, a line of JSON an epoch.

    Raises:
        UsageError: it cannot be written.
    """
    write_atomically(folder / LOG_FILE, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def save_model(
    folder: Path,
    model: LoadedModel,
    run_id: str,
    description: str,
    status: ModelStatus,
    mapped: tuple[float, float],
    model_id: str | None = None,
) -> Card:
    """Write the checkpoint of a run: a few MB, without its backbone. It is called after what decided the run, or
    what the recipe says."""
    card = msgspec.structs.replace(
        model.card,
        id=model_id or f"qclip-{run_id[:12]}",
        status=status,
        description=description,
        score_map=mapped,
    )
    save_checkpoint(folder / MODEL_FILE, card, model.qclip.trained_tensors())
    return card
