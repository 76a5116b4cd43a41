"""A checkpoint of the authors' code, on a tiny backbone, put together from its trimmed copy (see golden/README.md)."""

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
EMBEDDING = "clip_model.token_embedding.weight"
HEADS = 4
FIRST_BLOCK = 3  # counted from 1


def official_checkpoint() -> dict[str, Any]:
    """{"state_dict", "validation_results"} with every key of theirs; a tensor of two names is in memory once."""
    with safe_open(GOLDEN / "official_tiny.safetensors", framework="pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}
    embedding = torch.zeros(int(metadata["token_embedding_rows"]), state[f"{EMBEDDING}.rows"].shape[1])
    embedding[state.pop(f"{EMBEDDING}.row_numbers")] = state.pop(f"{EMBEDDING}.rows")
    state[EMBEDDING] = embedding
    for first, again in (("clip_model.visual.", "vit."), ("clip_model.transformer.", "text_encoder.")):
        state |= {again + k.removeprefix(first): tensor for k, tensor in state.items() if k.startswith(first)}
    return {"state_dict": state, "validation_results": msgspec.json.decode(metadata["validation_results"])}


def official_case() -> dict[str, Tensor]:
    """Inputs and outputs of their model."""
    return load_file(GOLDEN / "official_tiny_case.safetensors")
