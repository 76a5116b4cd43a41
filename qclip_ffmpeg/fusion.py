"""From the features of a clip's frames to one: the mean, or something learned that starts at the mean.

Shapes: B clips, T frames in time order, D features, H inner width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Fusion = Literal["mean", "attention", "transformer", "state-space"]
INNER_DIM = 64
HEADS = 4
STATE_DIM = 16


def fusion_of(kind: Fusion, feature_dim: int) -> nn.Module:
    """The fusion of a kind: (B, T, D) -> (B, D)."""
    if kind == "attention":
        return AttentionFusion(feature_dim)
    if kind == "transformer":
        return ResidualFusion(feature_dim, TransformerMixer())
    if kind == "state-space":
        return ResidualFusion(feature_dim, SelectiveScan(INNER_DIM, STATE_DIM))
    return MeanFusion()


class MeanFusion(nn.Module):
    """The mean over the frames."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=1)


class AttentionFusion(nn.Module):
    """A weighted mean; the weights come from one learned query. All frames weigh the same at the start."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_dim, elementwise_affine=False)
        self.query = nn.Parameter(torch.zeros(feature_dim))

    def forward(self, features: Tensor) -> Tensor:
        weights = (self.norm(features) @ self.query / features.shape[-1] ** 0.5).softmax(dim=1)  # (B, T)
        fused: Tensor = (weights.unsqueeze(-1) * features).sum(dim=1)
        return fused


class ResidualFusion(nn.Module):
    """The mean of the frames, each with a correction that a learned mixer over time makes; it starts at 0."""

    def __init__(self, feature_dim: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_dim, elementwise_affine=False)
        self.down = nn.Linear(feature_dim, INNER_DIM)
        self.mixer = mixer
        self.up = nn.Linear(INNER_DIM, feature_dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.mixer(self.down(self.norm(features)))  # (B, T, H)
        fused: Tensor = (features + self.up(mixed)).mean(dim=1)
        return fused


class TransformerMixer(nn.Module):
    """One pre-norm transformer layer over the frames, with sinusoidal positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            INNER_DIM, HEADS, 2 * INNER_DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.layer(x + positions(x.shape[1], x.shape[2]).to(x))
        return mixed


def positions(length: int, width: int) -> Tensor:
    """Sinusoidal positions of "Attention is all you need": (length, width)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class SelectiveScan(nn.Module):
    """A selective state space (Mamba, Gu and Dao, arXiv 2312.00752) in plain torch, one direction, frame after frame.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t x_t and y_t = C_t h_t + D x_t, with delta, B and C made of x_t.
    """

    def __init__(self, width: int, state_dim: int) -> None:
        super().__init__()
        self.log_decay = nn.Parameter(
            torch.arange(1, state_dim + 1).float().log().expand(width, -1).clone()
        )  # A = -exp
        self.delta = nn.Linear(width, width)
        self.b = nn.Linear(width, state_dim, bias=False)
        self.c = nn.Linear(width, state_dim, bias=False)
        self.skip = nn.Parameter(torch.ones(width))
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        delta = F.softplus(self.delta(x))  # (B, T, H)
        decay = torch.exp(-delta.unsqueeze(-1) * self.log_decay.exp())  # (B, T, H, S)
        driven = (delta * x).unsqueeze(-1) * self.b(x).unsqueeze(2)  # (B, T, H, S)
        read = self.c(x)  # (B, T, S)
        state = torch.zeros_like(driven[:, 0])
        out = []
        for t in range(x.shape[1]):
            state = decay[:, t] * state + driven[:, t]
            out.append((state * read[:, t].unsqueeze(1)).sum(dim=-1))
        return (torch.stack(out, dim=1) + self.skip * x) * F.silu(self.gate(x))
