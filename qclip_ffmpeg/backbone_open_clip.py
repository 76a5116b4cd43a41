"""open_clip's towers taken apart block by block. The only door to open_clip and timm.

Its own ViT, timm's ViT (SigLIP 2, MobileCLIP-B), timm's Eva (Perception Encoder) and timm's FastViT (MobileCLIP).
"""

import copy
import difflib
from collections.abc import Sequence
from typing import Any

import msgspec
import open_clip
import timm
import torch
from msgspec import Struct
from open_clip.model import CLIPTextCfg, _build_text_tower, _build_vision_tower
from open_clip.transformer import TextTransformer, VisionTransformer, text_global_pool
from timm.models.eva import Eva
from timm.models.eva import checkpoint_filter_fn as convert_perception_encoder
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn

from qclip_ffmpeg.backbone import OpenClipConfig, TextTower, Tower
from qclip_ffmpeg.errors import ModelError, UsageError


def open_clip_config(architecture: str, pretrained: str | None = None) -> OpenClipConfig:
    """The configuration of an architecture that open_clip knows.

    Raises:
        UsageError: it knows none of that name, or no such weights.
    """
    cfg = architecture_of(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained is not None and pretrained not in tags:
        known = ", ".join(tags) or "none"
        raise UsageError(f"{architecture}: open_clip has no weights {pretrained!r} for it; it has: {known}")
    published = open_clip.get_pretrained_cfg(architecture, pretrained or (tags[0] if tags else "")) or {}
    return OpenClipConfig(
        architecture=architecture,
        image_px=first_of(cfg["vision_cfg"].get("image_size", 224)),
        image_mean=tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        image_std=tuple(published.get("std", open_clip.OPENAI_DATASET_STD)),
        pretrained=pretrained,
    )


def architecture_of(name: str) -> dict[str, Any]:
    """open_clip's model configuration of a name."""
    if name not in open_clip.list_models():
        close = ", ".join(difflib.get_close_matches(name, open_clip.list_models(), 3))
        raise UsageError(f"{name}: open_clip knows no such architecture{f'; close to it are {close}' if close else ''}")
    cfg: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name))
    cfg["vision_cfg"]["timm_model_pretrained"] = False  # weights come from a file that is checked, never from here
    return cfg


def first_of(size: int | Sequence[int]) -> int:
    """One side of a size that may be given as one number or as two."""
    return size if isinstance(size, int) else size[0]


def stated(sizes: Struct) -> dict[str, Any]:
    """The sizes that are stated."""
    return {name: value for name, value in msgspec.structs.asdict(sizes).items() if value is not None}


def open_clip_image_tower(config: OpenClipConfig) -> Tower:
    """The image tower, without weights; `backbone.image_tower` says more."""
    cfg = architecture_of(config.architecture)
    joint_dim = config.joint_dim or cfg["embed_dim"]
    trunk_sizes = stated(config.trunk)
    image_px = trunk_sizes.get("img_size", first_of(cfg["vision_cfg"].get("image_size", 224)))
    if config.image_px != image_px:
        raise ModelError(f"{config.architecture}: takes pictures of {image_px} px, not of {config.image_px}")
    visual = visual_of(config.architecture, cfg, joint_dim, trunk_sizes)
    trunk = getattr(visual, "trunk", None)
    if trunk is None and isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        return OpenClipViTTower(visual, joint_dim)
    if trunk is not None and cfg["vision_cfg"].get("timm_proj") == "none" and trunk.num_features != joint_dim:
        raise ModelError(
            f"{config.architecture}: does not project, its joint space is {trunk.num_features} wide, not {joint_dim}"
        )
    if isinstance(trunk, Eva):
        return EvaTower(visual, joint_dim, config.rope_cls)
    if isinstance(trunk, TimmViT):
        return TimmViTTower(visual, joint_dim)
    if isinstance(trunk, FastVit):
        return FastViTTower(visual, joint_dim)
    kind = type(trunk or visual).__name__
    raise ModelError(f"{config.architecture}: its image tower, {kind}, is of a kind that cannot be taken apart yet")


def visual_of(architecture: str, cfg: dict[str, Any], joint_dim: int, sizes: dict[str, Any]) -> Any:
    """The image tower as open_clip builds it; with a trunk of other sizes where it is timm's and projects by itself."""
    vision_cfg = cfg["vision_cfg"]
    if not sizes:
        return _build_vision_tower(joint_dim, vision_cfg, cfg.get("quick_gelu", False))
    if "timm_model_name" not in vision_cfg or vision_cfg.get("timm_proj") not in (None, "none"):
        raise ModelError(f"{architecture}: the sizes of its image tower cannot be changed")
    visual = nn.Module()
    try:
        visual.trunk = timm.create_model(
            vision_cfg["timm_model_name"],
            num_classes=joint_dim if vision_cfg.get("timm_proj") is None else 0,
            global_pool=vision_cfg.get("timm_pool"),
            **sizes,
        )
    except (TypeError, ValueError, AssertionError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"{architecture}: timm cannot build it with {sizes}: {error}") from None
    if getattr(getattr(visual.trunk, "patch_embed", None), "num_patches", 1) < 1:
        raise ModelError(f"{architecture}: timm cannot build it with {sizes}: there is no patch")
    visual.head = nn.Identity()
    return visual


def text_cfg_of(config: OpenClipConfig) -> CLIPTextCfg:
    """open_clip's configuration of the text tower.

    Raises:
        ModelError: the tower is another library's, or its sizes do not fit each other.
    """
    text = CLIPTextCfg(**{**architecture_of(config.architecture)["text_cfg"], **stated(config.text)})
    if text.hf_model_name:
        raise ModelError(f"{config.architecture}: its text tower comes from another library and cannot be taken apart")
    if text.width % text.heads:
        raise ModelError(f"{config.architecture}: a text tower {text.width} wide cannot have {text.heads} heads")
    return text


def open_clip_text_tower(config: OpenClipConfig) -> TextTower:
    """The text tower, without weights."""
    cfg = architecture_of(config.architecture)
    text = _build_text_tower(config.joint_dim or cfg["embed_dim"], text_cfg_of(config), cfg.get("quick_gelu", False))
    return OpenClipTextTower(text, config)


def text_sizes_of(config: OpenClipConfig) -> tuple[tuple[int, ...], int | None]:
    """(width of each block, P) of the text tower, without building it."""
    text = text_cfg_of(config)
    return (text.width,) * text.layers, text.width


def backbone_weights(config: OpenClipConfig) -> dict[str, Tensor]:
    """Weights of both towers from where open_clip gets them (its hub), keyed "visual.*" and "text.*".

    Raises:
        ModelError: they cannot be had, for instance without a network.
    """
    if config.pretrained is None:
        raise ModelError(f"{config.architecture}: no weights are named; give a file, or a tag that open_clip knows")
    try:
        model = open_clip.create_model(config.architecture, pretrained=config.pretrained, force_custom_text=True)
    except Exception as error:  # whatever the hub's client raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{config.architecture}: its weights {config.pretrained!r} cannot be had ({reason}); "
            "check the network, or give them as a file"
        ) from None
    return {k: v for k, v in model.state_dict().items() if k.startswith(("visual.", "text."))}


def perception_encoder_to_timm(name: str, visual: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of Meta's Perception Encoder image tower under the names that open_clip's timm tower has.

    Raises:
        ModelError: they are another tower's.
    """
    try:
        converted = convert_perception_encoder(dict(visual), nn.Module())
    except Exception as error:  # whatever foreign tensors make of the conversion
        raise ModelError(f"{name}: its image tower is not a Perception Encoder ({error})") from None
    return {f"trunk.{name}": tensor.contiguous() for name, tensor in converted.items()}


class OpenClipViTTower(Tower):
    """open_clip's VisionTransformer."""

    prefix_tokens = 1

    def __init__(self, visual: VisionTransformer, joint_dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.widths = (visual.conv1.out_channels,) * len(visual.transformer.resblocks)
        self.joint_dim, self.pooled_dim = joint_dim, self.widths[-1]

    def embed(self, inputs: Tensor) -> Tensor:
        embedded: Tensor = self.visual._embeds(inputs)
        return embedded

    def block(self, number: int, tokens: Tensor) -> Tensor:
        after: Tensor = self.visual.transformer.resblocks[number - 1](tokens)
        return after

    def modules_of(self, number: int) -> list[nn.Module]:
        return [self.visual.transformer.resblocks[number - 1]]

    def pool(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.visual._pool(tokens)[0]
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


class TimmTower(Tower):
    """What timm's trunks have in common: a head that pools and another that projects."""

    def __init__(self, visual: Any, joint_dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.joint_dim = joint_dim

    @property
    def trunk(self) -> Any:
        return self.visual.trunk

    def modules_of(self, number: int) -> list[nn.Module]:
        return [self.trunk.blocks[number - 1]]

    def pool(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.trunk.forward_head(self.trunk.norm(tokens), pre_logits=True)
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        projected: Tensor = self.visual.head(self.trunk.head(pooled))
        return projected


class TimmViTTower(TimmTower):
    """timm's VisionTransformer: SigLIP 2, MobileCLIP-B."""

    def __init__(self, visual: Any, joint_dim: int) -> None:
        super().__init__(visual, joint_dim)
        self.widths = (self.trunk.embed_dim,) * len(self.trunk.blocks)
        self.pooled_dim = self.trunk.embed_dim
        self.prefix_tokens = self.trunk.num_prefix_tokens

    def embed(self, inputs: Tensor) -> Tensor:
        x = self.trunk._pos_embed(self.trunk.patch_embed(inputs))
        embedded: Tensor = self.trunk.norm_pre(self.trunk.patch_drop(x))
        return embedded

    def block(self, number: int, tokens: Tensor) -> Tensor:
        after: Tensor = self.trunk.blocks[number - 1](tokens)
        return after


class EvaTower(TimmTower):
    """timm's Eva: Meta's Perception Encoder, with rotary positions."""

    def __init__(self, visual: Any, joint_dim: int, rope_cls: str) -> None:
        super().__init__(visual, joint_dim)
        self.widths = (self.trunk.embed_dim,) * len(self.trunk.blocks)
        self.pooled_dim = self.trunk.embed_dim
        self.prefix_tokens = self.trunk.num_prefix_tokens
        self.rotary = self.trunk.rope is not None
        self.rope_cls_last = rope_cls == "last"
        if self.rope_cls_last:
            if self.prefix_tokens != 1 or not self.rotary:
                raise ModelError('rope_cls = "last" needs a tower with a class token and rotary positions')
            for block in self.trunk.blocks:
                block.attn.num_prefix_tokens = 0  # the table has a row for every token, the class token's last

    def embed(self, inputs: Tensor) -> Tensor:
        embedded: Tensor = self.trunk.norm_pre(self.trunk._pos_embed(self.trunk.patch_embed(inputs))[0])
        return embedded

    def block(self, number: int, tokens: Tensor) -> Tensor:
        after: Tensor = self.trunk.blocks[number - 1](tokens, rope=self.rotations())
        return after

    def rotations(self) -> Tensor | None:
        """(rows, 2 x head width): sines, then cosines; None where positions are only added."""
        if not self.rotary:
            return None
        table: Tensor = self.trunk.rope.get_embed()
        if not self.rope_cls_last:
            return table
        still = torch.cat([torch.zeros_like(table[:1, ::2]), torch.ones_like(table[:1, ::2])], dim=1)
        return torch.cat([table, still])


class FastViTTower(TimmTower):
    """timm's FastViT: MobileCLIP. Feature maps, channels-last between blocks; a stage begins with its downsampling."""

    prefix_tokens = 0

    def __init__(self, visual: Any, joint_dim: int) -> None:
        super().__init__(visual, joint_dim)
        self._places = [(stage, i) for stage in self.trunk.stages for i in range(len(stage.blocks))]
        self.widths = tuple(
            dim for stage, dim in zip(self.trunk.stages, stage_widths(self.trunk), strict=True) for _ in stage.blocks
        )
        self.pooled_dim = self.trunk.num_features

    def embed(self, inputs: Tensor) -> Tensor:
        stem: Tensor = self.trunk.stem(inputs)
        return stem.permute(0, 2, 3, 1)

    def block(self, number: int, tokens: Tensor) -> Tensor:
        stage, place = self._places[number - 1]
        x = tokens.permute(0, 3, 1, 2)
        if place == 0:
            x = stage.pos_emb(stage.downsample(x))
        after: Tensor = stage.blocks[place](x)
        return after.permute(0, 2, 3, 1)

    def modules_of(self, number: int) -> list[nn.Module]:
        stage, place = self._places[number - 1]
        return [stage.blocks[place]] if place else [stage.downsample, stage.pos_emb, stage.blocks[0]]

    def pool(self, tokens: Tensor) -> Tensor:
        maps = self.trunk.final_conv(tokens.permute(0, 3, 1, 2))
        pooled: Tensor = self.trunk.forward_head(maps, pre_logits=True)
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        projected: Tensor = self.visual.head(self.trunk.head.fc(pooled))
        return projected


def stage_widths(trunk: FastVit) -> list[int]:
    """Channels of each stage."""
    widths: list[Any] = [info["num_chs"] for info in trunk.feature_info]
    return widths


class OpenClipTextTower(TextTower):
    """open_clip's TextTransformer."""

    prefix_tokens = 0

    def __init__(self, text: TextTransformer, config: OpenClipConfig) -> None:
        super().__init__()
        if not isinstance(text, TextTransformer) or text.cls_emb is not None or text.use_pad_mask:
            raise ModelError(f"{config.architecture}: its text tower is of a kind that cannot be taken apart yet")
        self.text = text
        self.config = config
        self.widths = (text.width,) * len(text.transformer.resblocks)
        self.pooled_dim, self.joint_dim = text.width, text.output_dim

    def token_ids(self, prompts: list[str]) -> Tensor:
        try:
            tokenizer = open_clip.get_tokenizer(self.config.architecture, context_length=self.text.context_length)
        except Exception as error:  # a missing library or no network, whatever the hub's client raises
            raise ModelError(
                f"{self.config.architecture}: its tokeniser cannot be had ({str(error).splitlines()[0]}); "
                "it needs the package transformers and the network"
            ) from None
        ids: Tensor = tokenizer(prompts)
        longer = tokenizer(prompts, context_length=2 * ids.shape[1])  # what is too long is cut without a word
        beyond = longer[:, ids.shape[1] :]
        if not torch.equal(longer[:, : ids.shape[1]], ids) or bool((beyond != longer[0, -1]).any()):
            raise UsageError(
                f"{self.config.architecture}: its text tower reads {ids.shape[1]} tokens, the prompts have more; "
                "use fewer context_tokens"
            )
        return ids

    def token_embeddings(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.text.token_embedding(ids)
        return embedded

    def embed(self, inputs: Tensor) -> Tensor:
        embedded: Tensor = inputs + self.text.positional_embedding[: inputs.shape[1]]
        return embedded

    def block(self, number: int, tokens: Tensor) -> Tensor:
        mask = self.text.attn_mask
        if mask is not None:
            mask = mask[: tokens.shape[1], : tokens.shape[1]]
        after: Tensor = self.text.transformer.resblocks[number - 1](tokens, attn_mask=mask)
        return after

    def modules_of(self, number: int) -> list[nn.Module]:
        return [self.text.transformer.resblocks[number - 1]]

    def pool_prompts(self, tokens: Tensor, ids: Tensor) -> Tensor:
        pooled: Tensor = text_global_pool(
            self.text.ln_final(tokens), ids, pool_type=self.text.pool_type, eos_token_id=self.text.eos_id
        )
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        projection = self.text.text_projection
        if projection is None:
            return pooled
        projected: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return projected
