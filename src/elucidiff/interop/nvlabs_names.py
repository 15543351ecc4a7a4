"""Names of the settings and weights of the networks of NVlabs/edm and NVlabs/edm2, there and here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from elucidiff.networks import Blueprint, DDPMPPSettings, EDM2Settings, Network

_SETTINGS = {
    "out_channels": "out_channels",
    "label_dim": "label_dim",
    "augment_dim": "augment_dim",
    "model_channels": "base_channels",
    "channel_mult": "channel_multipliers",
    "channel_mult_emb": "embedding_multiplier",
    "num_blocks": "blocks_per_level",
    "attn_resolutions": "attention_resolutions",
    "dropout": "dropout",
    "label_dropout": "label_dropout",
}
_UNET_SETTINGS = _SETTINGS | {
    "embedding_type": "embedding",
    "channel_mult_noise": "noise_multiplier",
    "encoder_type": "encoder",
    "decoder_type": "decoder",
    "resample_filter": "resample_filter",
}
_EDM2_SETTINGS = {
    "label_dim": "label_dim",
    "model_channels": "base_channels",
    "channel_mult": "channel_multipliers",
    "channel_mult_noise": "noise_multiplier",
    "channel_mult_emb": "embedding_multiplier",
    "num_blocks": "blocks_per_level",
    "attn_resolutions": "attention_resolutions",
    "label_balance": "label_balance",
    "concat_balance": "concat_balance",
    "resample_filter": "resample_filter",
    "channels_per_head": "channels_per_head",
    "dropout": "dropout",
    "res_balance": "res_balance",
    "attn_balance": "attn_balance",
    "clip_act": "clip",
}
# Of the wrapper, which makes its network with the arguments that are not its own.
_EDM2_WRAPPER_SETTINGS = _EDM2_SETTINGS | {"logvar_channels": "log_variance_channels"}
_EDM2_WRAPPER_OWN = ("use_fp16", "sigma_data")
_CLASSES = {
    "SongUNet": ("ddpmpp", _UNET_SETTINGS),
    "DhariwalUNet": ("adm", _SETTINGS),
    "UNet": ("edm2", _EDM2_SETTINGS),
    "Precond": ("edm2", _EDM2_WRAPPER_SETTINGS),
}
_CHANNELS = {"edm2": "img_channels"}

_TOP = {
    "noise_features.frequencies": "map_noise.freqs",
    "embed1": "map_layer0",
    "embed2": "map_layer1",
    "embed_labels": "map_label",
    "embed_augment": "map_augment",
    "head.norm": "out_norm",
    "head.conv": "out_conv",
}
_EDM2_TOP = {
    "noise_features.frequencies": "emb_fourier.freqs",
    "noise_features.phases": "emb_fourier.phases",
    "embed_noise": "emb_noise",
    "embed_labels": "emb_label",
    "head_gain": "out_gain",
    "head.": "out_conv.",
}
_EDM2_LOG_VARIANCE = {
    "log_variance_features.frequencies": "logvar_fourier.freqs",
    "log_variance_features.phases": "logvar_fourier.phases",
    "log_variance_layer.weight": "logvar_linear.weight",
}
_EDM2_BLOCK = {
    "conv1": "conv_res0",
    "embed": "emb_linear",
    "embed_gain": "emb_gain",
    "conv2": "conv_res1",
    "skip": "conv_skip",
    "attention.qkv": "attn_qkv",
    "attention.out": "attn_proj",
    "resample.kernel": "resample_filter",
}
_BLOCK = {
    "norm1": "norm0",
    "conv1": "conv0",
    "embed": "affine",
    "norm2": "norm1",
    "conv2": "conv1",
    "skip": "skip",
    "attention.norm": "norm2",
    "attention.qkv": "qkv",
    "attention.out": "proj",
    "resample.kernel": "conv0.resample_filter",
}


def network_blueprint(class_name: str, init_kwargs: Mapping[str, Any]) -> Blueprint:
    """Our settings for these constructor arguments of theirs.

    Raises:
        ValueError: the class or an argument is unknown, or a needed argument is missing.
    """
    if class_name not in _CLASSES:
        raise ValueError(f"network class {class_name!r} is unknown: choose one of {', '.join(_CLASSES)}")
    kind, names = _CLASSES[class_name]
    arguments = dict(init_kwargs)
    if class_name == "Precond":
        arguments = {name: value for name, value in arguments.items() if name not in _EDM2_WRAPPER_OWN}
        arguments.setdefault("logvar_channels", 128)
    try:
        resolution, channels = arguments.pop("img_resolution"), arguments.pop(_CHANNELS.get(kind, "in_channels"))
    except KeyError as error:
        raise ValueError(f"the arguments of {class_name} lack {error.args[0]!r}") from None
    if unknown := sorted(arguments.keys() - names.keys()):
        raise ValueError(f"{class_name} has no argument {unknown[0]!r}")
    settings = {names[name]: value for name, value in arguments.items()}
    shapes = {name: settings.pop(name, 0) for name in ("label_dim", "augment_dim")}
    described = {"part": {"type": kind, **settings}, "sample_shape": [channels, resolution, resolution], **shapes}
    return Blueprint.from_plain(described)


def reference_name(name: str, network: Network) -> str:
    """The name there of the parameter or buffer that is called ``name`` here, in ``network``.

    Those of EDM2 with a log variance are named as in its wrapper, where the network is called ``unet``.
    """
    settings = network.settings
    if isinstance(settings, EDM2Settings) and settings.log_variance_channels:
        return _EDM2_LOG_VARIANCE.get(name) or f"unet.{_name_in_network(name, network)}"
    return _name_in_network(name, network)


def _name_in_network(name: str, network: Network) -> str:
    settings = network.settings
    top, inside = (_EDM2_TOP, _EDM2_BLOCK) if isinstance(settings, EDM2Settings) else (_TOP, _BLOCK)
    resolution, levels = network.sample_shape[1], len(settings.channel_multipliers)
    encoder, decoder = (
        (settings.encoder, settings.decoder) if isinstance(settings, DDPMPPSettings) else ("standard", "standard")
    )

    def prefix(part: str, level: int) -> str:
        return f"{part}.{resolution >> level}x{resolution >> level}_"

    for ours, theirs in top.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if name.startswith("stem."):
        return prefix("enc", 0) + "conv" + name.removeprefix("stem")
    if name == "upsample_output.kernel":  # there, every level has its own copy
        return prefix("dec", 0) + "aux_up.resample_filter"
    if match := re.fullmatch(r"heads\.(\d+)\.(\w+)\.(\w+)", name):
        level = levels - 1 - int(match[1]) if decoder == "skip" else 0
        return f"{prefix('dec', level)}aux_{match[2]}.{match[3]}"
    if match := re.fullmatch(r"side_path\.(\d+)\.(conv|down)\.(\w+)", name):
        where = prefix("enc", int(match[1]) + 1)
        if match[2] == "conv":
            return f"{where}aux_{encoder}.{match[3]}"
        return f"{where}aux_{'residual' if encoder == 'residual' else 'down'}.resample_filter"
    match = re.fullmatch(r"(encoder|decoder)\.(\d+)\.(enter|blocks)\.(\d+)\.(.+)", name)
    if match is None:
        raise ValueError(f"{name} has no counterpart in the reference's networks")
    part, index, block = match[1], int(match[2]), match[4]
    level = index if part == "encoder" else levels - 1 - index
    if match[3] == "blocks":
        where = f"block{block}"
    elif part == "encoder":
        where = "down"
    else:
        where = "up" if index else f"in{block}"
    layer, _, kind = match[5].rpartition(".")
    inner = inside[match[5]] if match[5] in inside else f"{inside[layer]}.{kind}"
    return f"{prefix(part[:3], level)}{where}.{inner}"


def our_order(name: str, value: Tensor, heads: int) -> Tensor:
    """The values of the parameter called ``name`` here, in the order they have here.

    Queries, keys and values of one channel are neighbours in the output of the joint layer there; here all queries
    come before all keys, and all keys before all values.
    """
    if ".qkv." not in name:
        return value
    return value.reshape(heads, -1, 3, *value.shape[1:]).movedim(2, 0).reshape(value.shape)
