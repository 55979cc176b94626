"""CLIP ViT-B/32: rows of images and of the tokens of a text, computed as Moment-DETR's released features were.

open_clip has three traps. Its model `ViT-B-32` uses GELU where CLIP uses QuickGELU, and gives wrong features of the
right shape without any error. Its option `pretrained=` downloads files. A model without weights only gives a warning.
So both towers are built from the configuration with QuickGELU, on the meta device, and every tensor is filled from our
file. The meta device has no memory, so no initial numbers are computed that would be thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.encoders.base import Weights, Words
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor, nn

_TEXT = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "logit_scale")
"""Beginnings of the names of the text tower's tensors in the file. Those of the image tower begin with `visual.`."""


class ImageEncoder:
    """Turns a frame into the projected class token. It is not normalised."""

    def __init__(
        self, weights: Weights, device: str, *, model: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Build the image tower.

        model: open_clip's name of the configuration. mean, std: those of red, green and blue, as fractions of 1.
        Raises PipelineError for a weight file that does not hold it.
        """
        import torch

        self._device = device
        self._tower = _filled(_empty_model(model).visual, model, "visual.", weights).to(device)
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, 1, 224, 224, 3]. Returns float32 [rows, 512]."""
        import torch

        with torch.inference_mode():
            pixels = (
                torch.from_numpy(frames[:, 0]).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
            )
            return self._tower(pixels.sub_(self._mean).div_(self._std)).cpu().numpy()


class TextEncoder:
    """Turns a query into a row for each of its tokens, and into the projected state of its EOT token.

    rows: `states` gives the states of the tokens after the last LayerNorm, not projected. `embedding` gives rows of the
    token embedding, as UMT's TVSum archive has them. They have no positional embedding and pass through no transformer
    and no normalisation, so they depend neither on position nor on context.
    """

    def __init__(
        self,
        weights: Weights,
        device: str,
        corpus: Iterable[str] = (),  # noqa: ARG002 - it knows any word
        *,
        model: str,
        most_tokens: int,
        rows: Literal["states", "embedding"],
    ) -> None:
        """Build the text tower.

        model: open_clip's name of the configuration. most_tokens: the largest number of tokens of a query, without SOT
        and EOT. Raises PipelineError for a weight file that does not hold it.
        """
        import torch
        from open_clip import SimpleTokenizer

        empty = _empty_model(model)
        del empty.visual
        self._most_tokens, self._rows = most_tokens, rows
        self._length = most_tokens + 2
        self._model = _filled(empty, model, "", weights)
        self._model.attn_mask = torch.full((self._length, self._length), float("-inf")).triu_(1)
        self._model.to(device)
        self._tokenizer = SimpleTokenizer()
        self._device = device

    def tokens(self, query: str) -> list[int]:
        """Return the ids of a query's tokens: SOT, at most `most_tokens` tokens of the text, and EOT."""
        body = self._tokenizer.encode(query)[: self._most_tokens]
        return [self._tokenizer.sot_token_id, *body, self._tokenizer.eot_token_id]

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """Encode queries. Returns for each the rows of its tokens, float32 [n_tokens, 512], and a pooled [512]."""
        import torch

        ids = [self.tokens(query) for query in queries]
        padded = torch.tensor([row + [0] * (self._length - len(row)) for row in ids], device=self._device)
        with torch.inference_mode():
            states = self._states(padded)
            ends = torch.tensor([len(row) - 1 for row in ids], device=self._device)
            pooled = states[torch.arange(len(ids), device=self._device), ends] @ self._model.text_projection
            tokens = states if self._rows == "states" else self._model.token_embedding(padded)
        rows = zip(tokens.cpu().numpy(), pooled.cpu().numpy(), ids, strict=True)
        return [Words(state[: len(row)], vector) for state, vector, row in rows]

    def _states(self, ids: Tensor) -> Tensor:
        """Map ids [queries, length] to states [queries, length, 512].

        The mask is causal: no token sees those after it. So padding behind a query changes nothing.
        """
        model = self._model
        embedded = model.token_embedding(ids) + model.positional_embedding[: self._length]
        return model.ln_final(model.transformer(embedded, attn_mask=model.attn_mask))


def _empty_model(name: str) -> Any:
    """Build both towers without numbers. Raises PipelineError if open_clip uses another activation than CLIP does."""
    import open_clip
    import torch
    from open_clip.transformer import QuickGELU

    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config(name))
    blocks = [*model.visual.transformer.resblocks, *model.transformer.resblocks]
    if not all(isinstance(block.mlp.gelu, QuickGELU) for block in blocks):
        raise PipelineError(
            "open_clip built it without QuickGELU", where=name, remedy="install the open_clip_torch of the lock"
        )
    return model


def _filled(tower: nn.Module, called: str, prefix: str, weights: Weights) -> Any:
    """Fill a tower with its weights, for inference. The tensors of the other tower are not read.

    prefix: the beginning of the names of its tensors in the file. It is empty for the text tower.
    """
    from pipeline.encoders.state import fill, read_safetensors

    return fill(tower, weights, called, lambda name: prefix + name, read_safetensors((prefix,) if prefix else _TEXT))
