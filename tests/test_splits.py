"""Splits: by content, the same from the same seed, every part filled."""

import msgspec
import pytest

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.splits import Split, SplitRecipe, part_sizes, splits

CONTENTS = [f"c{i % 20}" for i in range(60)]


def contents_of(split: Split, contents: list[str]) -> tuple[set[str], set[str], set[str]]:
    train, val, test = ({contents[i] for i in part} for part in (split.train, split.val, split.test))
    return train, val, test


def test_no_content_is_in_two_parts_and_every_clip_in_one() -> None:
    for split in splits(CONTENTS, SplitRecipe(repeats=10)):
        assert sorted(split.train + split.val + split.test) == list(range(60))
        train, val, test = contents_of(split, CONTENTS)
        assert not train & val
        assert not train & test
        assert not val & test
        assert (len(train), len(val), len(test)) == (14, 2, 4)


def test_the_same_seed_gives_the_same_splits_and_repeats_differ() -> None:
    three = splits(CONTENTS, SplitRecipe(seed=5, repeats=3))
    assert three == splits(CONTENTS, SplitRecipe(seed=5, repeats=3))
    assert three[:1] == splits(CONTENTS, SplitRecipe(seed=5))
    assert len({split.test for split in three}) == 3
    assert three != splits(CONTENTS, SplitRecipe(seed=6, repeats=3))


def test_the_order_of_the_clips_does_not_decide_who_is_in_which_part() -> None:
    (forward,), (backward,) = splits(CONTENTS, SplitRecipe()), splits(CONTENTS[::-1], SplitRecipe())
    assert contents_of(forward, CONTENTS) == contents_of(backward, CONTENTS[::-1])


def test_a_seed_gives_these_splits_whatever_the_machine() -> None:
    assert splits(["a", "b", "c", "a", "d"], SplitRecipe(seed=1, train=0.5, val=0.25, test=0.25)) == [
        Split(train=(0, 1, 3), val=(2,), test=(4,))
    ]


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (3, (0.7, 0.1, 0.2), [1, 1, 1]),
        (4, (0.7, 0.1, 0.2), [2, 1, 1]),
        (10, (0.7, 0.1, 0.2), [7, 1, 2]),
        (100, (0.71, 0.29, 0.0), [71, 29, 0]),
        (1000, (0.7, 0.1, 0.2), [700, 100, 200]),
        (5, (0.8, 0.0, 0.2), [4, 0, 1]),
        (2, (0.98, 0.0, 0.02), [1, 0, 1]),
        (1, (1.0, 0.0, 0.0), [1, 0, 0]),
    ],
)
def test_sizes(count: int, shares: tuple[float, float, float], sizes: list[int]) -> None:
    assert part_sizes(count, shares) == sizes


def test_fewer_contents_than_parts() -> None:
    with pytest.raises(UsageError, match=r"have 2 contents.*too few for 3 parts \(train 0.7, val 0.1, test 0.2\)"):
        splits(["a", "b", "b"], SplitRecipe())
    with pytest.raises(UsageError, match=r"have 1 content,.*2 parts"):
        splits(["a", "a"], SplitRecipe(train=0.8, val=0, test=0.2))


def test_shares_have_to_add_up() -> None:
    with pytest.raises(UsageError, match=r"add up to 1.1"):
        splits(CONTENTS, SplitRecipe(train=0.8))


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": 1.0}, {"val": -0.1}, {"repeats": 0}, {"seed": -1}, {"x": 1}])
def test_a_preset_cannot_say_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, SplitRecipe)
