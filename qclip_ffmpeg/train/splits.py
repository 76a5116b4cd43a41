"""Contents -> train, validation and test parts. A content is never in two parts: its clips look too much alike."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.labels import Clip

PARTS = ("train", "val", "test")


class SplitRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A [split] table: how contents are shared out. Shares are of contents, not of clips, and add up to 1."""

    seed: Annotated[int, Meta(ge=0)] = 0
    repeats: Annotated[int, Meta(gt=0)] = 1
    """Splits drawn, each at random; the field reports over 10."""
    train: Annotated[float, Meta(gt=0, le=1)] = 0.7
    val: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    """0: no part to choose on."""
    test: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    """0: no part to report on."""
    folds: Annotated[int, Meta(ge=0, le=100)] = 0
    """Cross-validation in place of the shares: so many splits, each content tested in one of them and trained on in the
    others; then a model of all contents, calibrated on what those models made of each clip."""


class Split(Struct, frozen=True):
    """Places in the list of clips, ascending. Together the parts hold every clip once."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def splits(contents: Sequence[str], recipe: SplitRecipe) -> list[Split]:
    """Share out the contents, `recipe.repeats` times, at random from the seed.

    Args:
        contents: the content of each clip. Their order decides nothing but the places returned.
        recipe: the shares, the seed, the number of splits.

    Returns:
        `recipe.repeats` splits, or `recipe.folds` of them without a part to choose on. Each part with a share above 0
        has at least one content.

    Raises:
        UsageError: the shares do not add up to 1, or there are fewer contents than parts.
    """
    names = np.array(sorted(set(contents)))
    if recipe.folds:
        return folds(contents, names, recipe)
    sizes = part_sizes(len(names), (recipe.train, recipe.val, recipe.test))
    drawn = []
    for repeat in range(recipe.repeats):
        order = np.random.default_rng([recipe.seed, repeat]).permutation(len(names))
        parts = np.split(names[order], np.cumsum(sizes)[:-1])
        members = [set(part.tolist()) for part in parts]
        train, val, test = (tuple(i for i, content in enumerate(contents) if content in part) for part in members)
        drawn.append(Split(train, val, test))
    return drawn


def folds(contents: Sequence[str], names: NDArray[np.str_], recipe: SplitRecipe) -> list[Split]:
    """Splits for cross-validation: the names (K,) are dealt out in a random order.

    Raises:
        UsageError: there are fewer contents than folds, or only one fold.
    """
    if not 2 <= recipe.folds <= len(names):
        raise UsageError(f"[split] folds = {recipe.folds}: the labels have {len(names)} contents; say 2 to as many")
    order = np.random.default_rng(recipe.seed).permutation(len(names))
    fold_of = {str(names[place]): number % recipe.folds for number, place in enumerate(order)}
    places = range(len(contents))
    return [
        Split(
            train=tuple(i for i in places if fold_of[contents[i]] != fold),
            val=(),
            test=tuple(i for i in places if fold_of[contents[i]] == fold),
        )
        for fold in range(recipe.folds)
    ]


def part_sizes(count: int, shares: tuple[float, ...]) -> list[int]:
    """Contents of each part: largest remainders, then one from the largest part for each that would be empty.

    Raises:
        UsageError: the shares do not add up to 1, or `count` is less than the number of shares above 0.
    """
    said = ", ".join(f"{part} {share:g}" for part, share in zip(PARTS, shares, strict=True))
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UsageError(f"[split] shares {said} add up to {sum(shares):g}; they have to add up to 1")
    wanted = sum(share > 0 for share in shares)
    if count < wanted:
        raise UsageError(
            f"the labels have {count} {'content' if count == 1 else 'contents'}, which is too few for {wanted} parts "
            f"({said}): a content is never split; rate more contents, or set a share to 0"
        )
    sizes = [math.floor(share * count) for share in shares]
    remainders = sorted(range(len(shares)), key=lambda i: sizes[i] - shares[i] * count)
    for i in remainders[: count - sum(sizes)]:
        sizes[i] += 1
    for i, share in enumerate(shares):
        if share > 0 and sizes[i] == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    return sizes


def share_of_contents(clips: Sequence[Clip], places: Sequence[int], share: float, seed: int) -> tuple[int, ...]:
    """The places that belong to a share of the contents, at least one, drawn from the seed. Smaller shares are parts of
    larger ones."""
    if share == 1:
        return tuple(places)
    contents = sorted({clips[i].content for i in places})
    drawn = np.random.default_rng(seed).permutation(len(contents))[: max(1, round(share * len(contents)))]
    kept = {contents[i] for i in drawn}
    return tuple(i for i in places if clips[i].content in kept)
