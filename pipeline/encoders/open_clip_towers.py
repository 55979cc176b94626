"""The towers of open_clip's models, built by its configurations and filled with our weight files.

open_clip has four traps. `ViT-B-32` and `ViT-B-32-quickgelu` have the same tensors and compute differently. The option
`pretrained=` downloads files. A model without weights only gives a warning. Its configurations do not say how a picture
is prepared, because that depends on the weights (`library_models.py`). So each tower is built separately from the
configuration, nothing is downloaded, and every tensor is filled from our file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.encoders.base import Weights, randomise
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import nn

TEXT_AT_THE_ROOT = ("cls_emb", "token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
"""Beginnings of the names of the text tower's tensors in the file of a model that is of the class CLIP. Those of other
models begin with `text.`, and those of every image tower with `visual.`."""

_CAUSAL_MASK = "attn_mask"
"""The one buffer of a text tower that no weight file has. It is computed again."""


def image_tower(model: str, weights: Weights) -> Any:
    """Return the image tower of a model, ready for inference.

    Raises PipelineError for a model that open_clip does not have, and for a weight file that does not hold it.
    """
    tower = empty_image_tower(model)
    if _computed(tower):
        tower = _image_tower(model)  # with numbers, because no weight file has its tables of positions
    return _filled(tower, model, "visual.", ("visual.",), weights)


def text_tower(model: str, weights: Weights, length: int) -> Any:
    """Return the text tower of a model, ready for inference: open_clip's `TextTransformer`.

    length: the number of tokens of every query, padding included.
    Raises PipelineError for a model that open_clip does not have, and for a weight file that does not hold it.
    """
    import torch

    config = config_of(model)
    tower, is_at_the_root = empty_text_tower(model), not config.get("custom_text", False)
    prefix, prefixes = ("", TEXT_AT_THE_ROOT) if is_at_the_root else ("text.", ("text.",))
    filled = _filled(tower, model, prefix, prefixes, weights)
    if filled.attn_mask is not None:
        positions = length if filled.cls_emb is None else length + 1
        filled.attn_mask = torch.full((positions, positions), float("-inf")).triu_(1)
    return filled


def empty_image_tower(model: str) -> Any:
    """Build an image tower without numbers, on the meta device, so that no time is spent on initial numbers.

    Raises PipelineError for a model that open_clip does not have.
    """
    import torch

    with torch.device("meta"):
        return _image_tower(model)


def _image_tower(model: str) -> Any:
    from open_clip.model import _build_vision_tower

    config = config_of(model)
    vision = config["vision_cfg"] | {"timm_model_pretrained": False}  # True would download
    tower = _build_vision_tower(config["embed_dim"], vision, quick_gelu=config.get("quick_gelu", False))
    _check_activation(tower, model, config)
    return tower


def empty_text_tower(model: str) -> Any:
    """Build a text tower without numbers, on the meta device.

    Raises PipelineError for a model that open_clip does not have, and for a text tower of Hugging Face's.
    """
    import torch
    from open_clip.model import _build_text_tower

    config = config_of(model)
    if name := config["text_cfg"].get("hf_model_name"):
        raise PipelineError(
            f"its text tower is {name} of the package transformers, which is not among the packages of this pipeline",
            where=model,
            remedy="take the words from another family, such as clip-text",
        )
    with torch.device("meta"):
        tower = _build_text_tower(config["embed_dim"], config["text_cfg"], quick_gelu=config.get("quick_gelu", False))
    _check_activation(tower, model, config)
    return tower


def config_of(model: str) -> dict[str, Any]:
    """Return open_clip's configuration of a model. Raises PipelineError for a model that it does not have."""
    import open_clip

    found: dict[str, Any] | None = open_clip.get_model_config(model)
    if found is None:
        raise PipelineError(
            f"open_clip {open_clip.__version__} has no such model",
            where=model,
            remedy="install the version of the lock",
        )
    return found


def _computed(tower: nn.Module) -> set[str]:
    """Return the names of the buffers that no weight file has, except the causal mask."""
    buffers = {name for name, _ in tower.named_buffers()}
    return {name for name in buffers - tower.state_dict().keys() if not name.endswith(_CAUSAL_MASK)}


def _check_activation(tower: Any, model: str, config: dict[str, Any]) -> None:
    """Raise PipelineError if open_clip uses GELU where the model's name or its configuration says QuickGELU."""
    from open_clip.transformer import QuickGELU

    is_quick = config.get("quick_gelu", False) or model.endswith("-quickgelu")
    if not is_quick or not hasattr(tower, "transformer"):
        return  # the ResNets have no such activation
    blocks = tower.transformer.resblocks
    if not all(isinstance(block.mlp.gelu, QuickGELU) for block in blocks):
        raise PipelineError(
            "open_clip built it without QuickGELU", where=model, remedy="install the open_clip_torch of the lock"
        )


def _filled(tower: nn.Module, model: str, prefix: str, prefixes: tuple[str, ...], weights: Weights) -> Any:
    """Fill a tower with its weights, for inference. The tensors of the other tower are not read.

    prefix: the text before the names of its tensors in the file. prefixes: beginnings of these names.
    """
    from pipeline.encoders.state import fill, read_safetensors

    if weights.path is None and not any(parameter.is_meta for parameter in tower.parameters()):
        randomise(tower, weights.seed)
    return fill(tower, weights, model, lambda name: prefix + name, read_safetensors(prefixes))
