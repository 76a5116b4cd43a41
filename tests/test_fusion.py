"""Fusion over time: what starts as the mean, and what may then depend on the order of the frames."""

import math

import msgspec
import pytest
import torch
from tiny_model import TINY, random_qclip
from torch import Tensor, nn

from qclip_ffmpeg.fusion import Fusion, SelectiveScan, fusion_of, positions

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH = 24
KINDS: tuple[Fusion, ...] = ("mean", "attention", "transformer", "state-space")
LEARNED = KINDS[1:]


def frames(batch: int = 3, length: int = 7, seed: int = 0) -> Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(seed))


def built(kind: Fusion, width: int = WIDTH) -> nn.Module:
    torch.manual_seed(0)
    return fusion_of(kind, width).eval()


def trained(kind: Fusion, scale: float = 0.3) -> nn.Module:
    """With parameters moved, as training moves them."""
    fusion = built(kind)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return fusion


def test_the_mean_is_exact() -> None:
    features = torch.tensor([[[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]]])
    assert fusion_of("mean", 2)(features).tolist() == [[3.0, 20.0]]
    assert not list(fusion_of("mean", 2).parameters())
    assert torch.equal(built("mean")(frames()), frames().mean(dim=1))


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize("length", [1, 2, 8, 64])
def test_what_is_learned_starts_as_the_mean(kind: Fusion, length: int) -> None:
    """So that nothing is lost before training."""
    features = 100 * frames(length=length)
    torch.testing.assert_close(built(kind)(features), features.mean(dim=1), atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("kind", LEARNED)
def test_training_moves_it_off_the_mean(kind: Fusion) -> None:
    assert (trained(kind)(frames()) - frames().mean(dim=1)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["transformer", "state-space"])
def test_order_matters_to_what_models_time(kind: Fusion) -> None:
    fusion, features = trained(kind), frames()
    assert (fusion(features) - fusion(features.flip(1))).abs().max() > 1e-3
    swapped = features[:, [0, 2, 1, 3, 4, 5, 6]]
    assert (fusion(features) - fusion(swapped)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_order_does_not_matter_to_what_weighs(kind: Fusion) -> None:
    fusion, features = trained(kind), frames()
    shuffled = features[:, torch.randperm(7, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(fusion(shuffled), fusion(features))


def test_attention_is_a_weighted_mean() -> None:
    """Inside of the frames' range; by hand where one frame is the query."""
    features = frames()
    fused = trained("attention", scale=3.0)(features)
    assert (fused <= features.amax(dim=1) + 1e-6).all()
    assert (fused >= features.amin(dim=1) - 1e-6).all()
    fusion = fusion_of("attention", 2)
    fusion.query.data.copy_(torch.tensor([3.0, 0.0]))
    two = torch.tensor([[[1.0, 5.0], [5.0, 1.0]]])  # standardised: (-1, 1) and (1, -1)
    first = 1 / (1 + math.exp(2 * 3 / math.sqrt(2)))
    torch.testing.assert_close(fusion(two), first * two[:, 0] + (1 - first) * two[:, 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame(kind: Fusion) -> None:
    fused = trained(kind)(frames(length=1))
    assert fused.shape == (3, WIDTH)
    assert torch.isfinite(fused).all()


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_one_frame_is_itself_to_what_weighs(kind: Fusion) -> None:
    torch.testing.assert_close(trained(kind)(frames(length=1)), frames(length=1)[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_clips_do_not_mix(kind: Fusion) -> None:
    fusion, features = trained(kind), frames()
    torch.testing.assert_close(fusion(features)[1:2], fusion(features[1:2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", LEARNED)
@pytest.mark.parametrize("length", [1, 9])
def test_gradients_are_finite_and_reach_every_parameter(kind: Fusion, length: int) -> None:
    """Also of large features, and of frames that are all alike."""
    fusion = trained(kind)
    for features in (frames(length=length), 1e4 * frames(length=length), torch.ones(2, length, WIDTH)):
        fusion.zero_grad()
        features = features.clone().requires_grad_()
        fusion(features).square().mean().backward()
        for name, parameter in fusion.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        assert torch.isfinite(features.grad).all()
    idle = {"query"} if length == 1 else set[str]()  # one frame has all the weight
    if kind == "transformer" and length == 1:
        idle = {"in_proj_weight", "in_proj_bias"}  # attention of one frame to itself: queries and keys do nothing
    fusion.zero_grad()
    fusion(frames(length=length)).square().mean().backward()
    for name, parameter in fusion.named_parameters():
        if name.rpartition(".")[2] not in idle and (name != "mixer.log_decay" or length > 1):
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", LEARNED)
def test_the_first_step_of_training_moves_something(kind: Fusion) -> None:
    """A start at zero must not be a dead end."""
    fusion = built(kind)
    fusion(frames()).square().mean().backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in fusion.parameters())


def scan_by_hand(scan: SelectiveScan, x: Tensor) -> Tensor:
    """Number by number in double precision: h = exp(delta A) h + delta B x, y = C h + D x, times SiLU of the gate."""
    weights = {name: tensor.detach().double().tolist() for name, tensor in scan.state_dict().items()}
    batch, length, width = x.shape
    states = len(weights["log_decay"][0])

    def linear(name: str, vector: list[float]) -> list[float]:
        bias = weights.get(f"{name}.bias", [0.0] * len(weights[f"{name}.weight"]))
        rows = zip(weights[f"{name}.weight"], bias, strict=True)
        return [sum(w * v for w, v in zip(row, vector, strict=True)) + b for row, b in rows]

    out = torch.zeros(batch, length, width, dtype=torch.float64)
    for clip in range(batch):
        state = [[0.0] * states for _ in range(width)]
        for t in range(length):
            now = x[clip, t].double().tolist()
            delta = [math.log1p(math.exp(v)) for v in linear("delta", now)]
            b, c, gate = linear("b", now), linear("c", now), linear("gate", now)
            for i in range(width):
                y = weights["skip"][i] * now[i]
                for s in range(states):
                    decay = math.exp(-delta[i] * math.exp(weights["log_decay"][i][s]))
                    state[i][s] = decay * state[i][s] + delta[i] * b[s] * now[i]
                    y += c[s] * state[i][s]
                out[clip, t, i] = y * gate[i] / (1 + math.exp(-gate[i]))
    return out


@pytest.mark.parametrize("length", [1, 2, 6])
def test_the_scan_is_its_definition_step_by_step(length: int) -> None:
    torch.manual_seed(3)
    scan = SelectiveScan(5, 3)
    with torch.no_grad():
        for parameter in scan.parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
    x = torch.randn(2, length, 5)
    with torch.no_grad():
        made = scan(x)
    torch.testing.assert_close(made.double(), scan_by_hand(scan, x), atol=1e-5, rtol=1e-5)


def test_the_scan_looks_back_and_never_ahead() -> None:
    torch.manual_seed(4)
    scan = SelectiveScan(5, 3)
    x = torch.randn(1, 6, 5)
    changed = x.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        before, after = scan(x), scan(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert ((before - after)[:, 3:].abs().amax(dim=2) > 1e-6).all()


def test_the_scan_forgets() -> None:
    """States decay: a long clip does not blow up."""
    torch.manual_seed(5)
    scan = SelectiveScan(8, 16)
    with torch.no_grad():
        made = scan(torch.ones(1, 2000, 8))
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made[0, -1], made[0, -2])


def test_positions_are_sines_and_cosines() -> None:
    made = positions(50, 8)
    assert made.shape == (50, 8)
    assert made[0].tolist() == [0, 1] * 4
    assert made[3, 0].item() == pytest.approx(math.sin(3))
    assert made[3, 3].item() == pytest.approx(math.cos(3 * 10000 ** (-2 / 8)))
    assert len({tuple(row) for row in made.tolist()}) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_fuses_with_it(kind: Fusion) -> None:

    qclip = random_qclip(msgspec.structs.replace(TINY, fusion=kind))
    views = torch.rand(2, 3, 2, 3, 224, 224)
    with torch.inference_mode():
        features = qclip.frame_features(views.flatten(0, 1)).view(2, 3, -1)
        probabilities, scores = qclip(views)
        torch.testing.assert_close(qclip.head(qclip.fusion(features)), (probabilities, scores))
    assert torch.isfinite(scores).all()
    assert any(name.startswith("fusion.") for name in qclip.trained_tensors()) == (kind != "mean")
