"""CLIP and its relatives in open_clip: rows of images and of the tokens of a text.

With ViT-B/32 they are computed as Moment-DETR's released features were. `open_clip_towers.py` builds the towers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.encoders.base import Weights, Words

if TYPE_CHECKING:
    from torch import Tensor


class ImageEncoder:
    """Turns a frame into the projected vector of the image tower (ViT-B/32: its class token). It is not normalised."""

    def __init__(
        self, weights: Weights, device: str, *, model: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Build the image tower.

        model: open_clip's name of the configuration. mean, std: those of red, green and blue, as fractions of 1.
        Raises PipelineError for a weight file that does not hold it.
        """
        import torch

        from pipeline.encoders.open_clip_towers import image_tower

        self._device = device
        self._tower = image_tower(model, weights).to(device)
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, 1, size, size, 3]. Returns float32 [rows, dim]."""
        import torch

        with torch.inference_mode():
            pixels = (
                torch.from_numpy(frames[:, 0]).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
            )
            found = self._tower(pixels.sub_(self._mean).div_(self._std))
            pooled = found[0] if isinstance(found, tuple) else found  # CoCa gives the vectors of all patches, too
            return pooled.cpu().numpy()


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
        and EOT. Every query is padded to this number and two. Raises PipelineError for a weight file that does not hold
        it.
        """
        from open_clip import SimpleTokenizer

        from pipeline.encoders.open_clip_towers import text_tower

        self._most_tokens, self._rows = most_tokens, rows
        self._length = most_tokens + 2
        self._tower = text_tower(model, weights, self._length).to(device)
        self._tokenizer = SimpleTokenizer()
        self._device = device

    def tokens(self, query: str) -> list[int]:
        """Return the ids of a query's tokens: SOT, at most `most_tokens` tokens of the text, and EOT."""
        body = self._tokenizer.encode(query)[: self._most_tokens]
        return [self._tokenizer.sot_token_id, *body, self._tokenizer.eot_token_id]

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """Encode queries. Returns for each the rows of its tokens, float32 [n_tokens, dim], and a pooled vector."""
        import torch

        ids = [self.tokens(query) for query in queries]
        padded = torch.tensor([row + [0] * (self._length - len(row)) for row in ids], device=self._device)
        with torch.inference_mode():
            states = self._states(padded)
            pooled = self._pooled(states, padded)
            tokens = states if self._rows == "states" else self._tower.token_embedding(padded)
        rows = zip(tokens.cpu().numpy(), pooled.cpu().numpy(), ids, strict=True)
        return [Words(state[: len(row)], vector) for state, vector, row in rows]

    def _states(self, ids: Tensor) -> Tensor:
        """Map ids [queries, length] to states [queries, positions, width] after the last LayerNorm.

        CLIP's mask is causal: no token attends to tokens after it, so padding after a query changes nothing. If a model
        has no mask, tokens attend to the padding, as in training. CoCa has one position more, for the whole text.
        """
        embedded, mask = self._tower._embeds(ids)
        return self._tower.ln_final(self._tower.transformer(embedded, attn_mask=mask))

    def _pooled(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return the projected state of the position that stands for the whole query: [queries, dim]."""
        from open_clip.transformer import text_global_pool
        from torch import nn

        tower = self._tower
        kind = tower.pool_type if tower.cls_emb is None else "last"
        pooled = text_global_pool(states, ids, kind, eos_token_id=tower.eos_id)
        if tower.text_projection is None:
            return pooled
        return (
            tower.text_projection(pooled)
            if isinstance(tower.text_projection, nn.Linear)
            else pooled @ tower.text_projection
        )
