"""The head that scores clips by a global row."""

from __future__ import annotations

from torch import Tensor, nn


class AdaptiveScore(nn.Module):
    """The query-adaptive predictor. It scores how similar each clip is to the global row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.clip, self.judge = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, clips: Tensor, global_row: Tensor) -> Tensor:
        """Return scores [B, L], unbounded. clips: [B, L, d]. global_row: [B, d]."""
        query = self.judge(global_row)
        weight, bias = query @ self.clip.weight, query @ self.clip.bias  # joined before, not after the clips' product
        return ((clips @ weight[..., None]).squeeze(-1) + bias[:, None]) / clips.shape[-1] ** 0.5
