"""CLIP ViT-B/32: image rows and text token states as Moment-DETR's released features have them.

open_clip's bad manners are met here: plain `ViT-B-32` builds GELU without a word and gives wrong features of the right
shape, `pretrained=` reaches for the network, and a model without weights is only a warning. So the towers are built on
the meta device (no initialisation to throw away) from the QuickGELU configuration, and every tensor is put in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Weights, Words, randomise
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL = "ViT-B-32-quickgelu"

MAX_BODY_TOKENS = 30
"""Moment-DETR's copy of the tokeniser cuts here and then appends EOT; 8 of 10,310 QVHighlights queries are longer."""

_TEXT = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "logit_scale")
"""Where the text tower's tensors live in the file; the image tower's live under `visual.`."""

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder:
    """Frame → projected class token, 512 numbers, not normalised."""

    preprocessing = (
        "frame before each clip's middle; short side 224, swscale bilinear; centre crop 224; RGB, CLIP mean and std"
    )
    sampling = "middle"
    view = "frames224"
    batch = 32
    rows_per_input = 1

    def __init__(self, weights: Weights, device: str) -> None:
        import torch

        self._device = device
        self._tower = _placed(_empty_model().visual, "visual.", weights).to(device)
        self._mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(3, 1, 1)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [rows, 1, 224, 224, 3] → float32 [rows, 512]."""
        import torch

        with torch.inference_mode():
            pixels = (
                torch.from_numpy(frames[:, 0]).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
            )
            return self._tower(pixels.sub_(self._mean).div_(self._std)).cpu().numpy()


class TextEncoder:
    """Query → states of all its tokens after the last LayerNorm (not projected), and the projected EOT state."""

    preprocessing = (
        "CLIP BPE of the lower-cased query, cut to 30 tokens, SOT and EOT around them; states after ln_final"
    )
    batch = 1

    def __init__(self, weights: Weights, device: str, corpus: Iterable[str] = ()) -> None:  # noqa: ARG002 - any words
        import torch
        from open_clip import SimpleTokenizer

        model = _empty_model()
        del model.visual
        self._length = MAX_BODY_TOKENS + 2
        self._model = _placed(model, "", weights)
        self._model.attn_mask = torch.full((self._length, self._length), float("-inf")).triu_(1)
        self._model.to(device)
        self._tokenizer = SimpleTokenizer()
        self._device = device

    def tokens(self, query: str) -> list[int]:
        """Token ids of a query: SOT, at most 30 of its own, EOT."""
        body = self._tokenizer.encode(query)[:MAX_BODY_TOKENS]
        return [self._tokenizer.sot_token_id, *body, self._tokenizer.eot_token_id]

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """One Words per query: token states float32 [n_tokens, 512], pooled [512]."""
        import torch

        ids = [self.tokens(query) for query in queries]
        padded = torch.tensor([row + [0] * (self._length - len(row)) for row in ids], device=self._device)
        with torch.inference_mode():
            states = self._states(padded)
            ends = torch.tensor([len(row) - 1 for row in ids], device=self._device)
            pooled = states[torch.arange(len(ids), device=self._device), ends] @ self._model.text_projection
        rows = zip(states.cpu().numpy(), pooled.cpu().numpy(), ids, strict=True)
        return [Words(state[: len(row)], vector) for state, vector, row in rows]

    def _states(self, ids: Tensor) -> Tensor:
        """[queries, length] → [queries, length, 512]. The mask is causal, so padding behind a query changes nothing."""
        model = self._model
        embedded = model.token_embedding(ids) + model.positional_embedding[: self._length]
        return model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask))


class TokenTable(TextEncoder):
    """Query → rows of the token embedding, one per token, and the projected EOT state (UMT's TVSum archive).

    The rows know nothing of position or context: no positional embedding, no transformer, no normalisation.
    """

    preprocessing = "CLIP BPE of the lower-cased title, cut to 30 tokens, SOT and EOT around them; token embedding rows"

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """One Words per query: embedding rows float32 [n_tokens, 512], pooled [512]."""
        table = self._model.token_embedding.weight
        return [
            Words(table[self.tokens(query)].cpu().numpy(), words.pooled)
            for query, words in zip(queries, super().encode(queries), strict=True)
        ]


def _empty_model() -> Any:
    """Both towers without numbers. Raises PipelineError when open_clip built another activation than CLIP's."""
    import open_clip
    import torch
    from open_clip.transformer import QuickGELU

    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config(MODEL))
    blocks = [*model.visual.transformer.resblocks, *model.transformer.resblocks]
    if not all(isinstance(block.mlp.gelu, QuickGELU) for block in blocks):
        raise PipelineError(
            "open_clip built it without QuickGELU", where=MODEL, remedy="install the open_clip_torch of the lock"
        )
    return model


def _placed(tower: nn.Module, prefix: str, weights: Weights) -> Any:
    """The tower with its numbers, for inference: from the file's tensors under `prefix`, or random."""
    if weights.path is None:
        randomise(tower.to_empty(device="cpu"), weights.seed)
    else:
        _load(tower, prefix, weights.path)
    return tower.eval().requires_grad_(False)


def _load(tower: nn.Module, prefix: str, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    from pipeline.encoders.state import unfit

    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix or _TEXT)]  # noqa: SIM118 - no dict
            state = {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}
        tower.load_state_dict(state, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise unfit(path, MODEL, str(error)) from error
