"""Fused features of clips -> probabilities of five quality levels, and a score.

Shapes: B clips, D features, J joint space, M measures.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = ("bad", "poor", "fair", "good", "excellent")
LEVEL_SCORES = (0.0, 25.0, 50.0, 75.0, 100.0)
SIMILARITY_TEMPERATURE = 0.01  # CLIP's; turns similarities into level probabilities, not into the score

Measure = Literal["motion", "display", "enlargement"]
"""What a head may be told beside the frames, which do not show it. "motion": log(1 + the mean motion of the window in
8-bit code values), since less of the same damage is seen where there is motion. "display": log2(lines the picture takes
on the display / 480), since the same features mean something else there: level vectors move along with it.
"enlargement": log2(lines the picture takes on the display / lines it is stored with), bars aside, held to 1 to 8
times as in the training; since a picture that is soft by nature and one that was coded small look alike."""
DISPLAY_LINES = 480  # where "display" is 0
LARGEST_ENLARGEMENT = 8  # of the training; nothing is told of pictures that are made smaller
LINES_TOLD = (270, 1080)  # a head is told of no fewer and no more: nothing says that the line goes on


class StandardisedHead(nn.Module):
    """A head that looks at features with the mean and spread of the training set taken out, at measures, at squares.

    Shapes: I standardised inputs, D features and then for each measure: of "display" D more, which are the features
    times it; of others the measure itself. Q squares of projections of them. S = I + Q is all that is seen.
    """

    mean: Tensor
    scale: Tensor
    measure_mean: Tensor
    measure_scale: Tensor

    def __init__(self, feature_dim: int, measures: tuple[Measure, ...] = (), squares: int = 0) -> None:
        super().__init__()
        self.measures = measures
        input_dim = feature_dim + sum(feature_dim if name == "display" else 1 for name in measures)
        self.seen_dim = input_dim + squares
        self.directions: nn.Parameter | None = None
        if squares:
            self.directions = nn.Parameter(torch.zeros(squares, input_dim))
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(feature_dim))
        if measures:
            self.register_buffer("measure_mean", torch.zeros(len(measures)))
            self.register_buffer("measure_scale", torch.ones(len(measures)))

    def standardise(self, features: Tensor, measures: Tensor | None = None) -> Tensor:
        """(B, D), (B, M) if there are measures -> (B, I)."""
        standard = (features - self.mean) / self.scale
        parts = [standard]
        if measures is not None:
            told = (measures - self.measure_mean) / self.measure_scale
            for name, column in zip(self.measures, told.split(1, dim=1), strict=True):  # type: ignore[no-untyped-call]
                parts.append(column * standard if name == "display" else column)
        return torch.cat(parts, dim=1)

    def see(self, standardised: Tensor) -> Tensor:
        """(B, I) -> (B, S)."""
        if self.directions is None:
            return standardised
        return torch.cat([standardised, (standardised @ self.directions.T).square()], dim=1)


class LevelHead(StandardisedHead):
    """Similarity with five learned level vectors makes level probabilities; their expectation is the score."""

    level_scores: Tensor

    def __init__(
        self,
        feature_dim: int,
        measures: tuple[Measure, ...] = (),
        level_scores: tuple[float, ...] = LEVEL_SCORES,
        squares: int = 0,
    ) -> None:
        super().__init__(feature_dim, measures, squares)
        self.register_buffer("level_scores", torch.tensor(level_scores))
        self.level_vectors = nn.Parameter(torch.zeros(len(LEVELS), self.seen_dim))
        self.level_bias = nn.Parameter(torch.zeros(len(LEVELS)))

    def forward(self, features: Tensor, measures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, D), (B, M) if any -> probabilities (B, 5) that sum to 1, scores (B,) in 0..100."""
        seen = self.see(self.standardise(features, measures))
        probabilities = (seen @ self.level_vectors.T + self.level_bias).softmax(dim=-1)
        return probabilities, probabilities @ self.level_scores


class LinearHead(StandardisedHead):
    """A linear probe. Its level probabilities are the weights of the two levels nearest to the score."""

    def __init__(self, feature_dim: int, measures: tuple[Measure, ...] = (), squares: int = 0) -> None:
        super().__init__(feature_dim, measures, squares)
        self.slope = nn.Parameter(torch.zeros(self.seen_dim))
        self.offset = nn.Parameter(torch.tensor(50.0))

    def forward(self, features: Tensor, measures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, D), (B, M) if any -> (B, 5), (B,)."""
        score = self.see(self.standardise(features, measures)) @ self.slope + self.offset
        return nearest_levels(score), score


def nearest_levels(score: Tensor) -> Tensor:
    """Scores (B,), clipped to 0..100, as weights of the two nearest levels, (B, 5), whose expectation is the score."""
    levels = score.new_tensor(LEVEL_SCORES)
    return F.relu(1 - (score.clamp(0, 100).unsqueeze(1) - levels).abs() / (levels[1] - levels[0]))


class TextHead(nn.Module):
    """Cosine similarity with the text features of five prompts."""

    text_features: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("text_features", torch.zeros(len(LEVELS), feature_dim))

    def similarity(self, features: Tensor) -> Tensor:
        """(B, J) -> (B, 5)."""
        return F.normalize(features, dim=-1) @ F.normalize(self.text_features, dim=-1).T


class PromptHead(TextHead):
    """The similarities times a learned score vector."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__(feature_dim)
        self.score_vector = nn.Parameter(torch.linspace(0, 1, len(LEVELS)))

    def forward(self, features: Tensor, measures: None = None) -> tuple[Tensor, Tensor]:
        """(B, J) -> level probabilities (B, 5), raw scores (B,): see `Card.score_map`."""
        similarity = self.similarity(features)
        return (similarity / SIMILARITY_TEMPERATURE).softmax(dim=-1), similarity @ self.score_vector


class ZeroShotHead(TextHead):
    """The expectation of the levels that the similarities make probable. Nothing is learned."""

    level_scores: Tensor

    def __init__(self, feature_dim: int, level_scores: tuple[float, ...] = LEVEL_SCORES) -> None:
        super().__init__(feature_dim)
        self.register_buffer("level_scores", torch.tensor(level_scores))

    def forward(self, features: Tensor, measures: None = None) -> tuple[Tensor, Tensor]:
        """(B, J) -> level probabilities (B, 5), scores (B,) in 0..100."""
        probabilities = (self.similarity(features) / SIMILARITY_TEMPERATURE).softmax(dim=-1)
        return probabilities, probabilities @ self.level_scores
