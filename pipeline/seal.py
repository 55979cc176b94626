"""An object that is stored as JSON carries the digest of its own content, so that a changed value does not pass.

A disk that turns one bit round may leave valid JSON with another number in it. Objects that were written before there
were seals have none. They are valid as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"
"""The key of the digest."""
KIND = "sha256:"
"""The beginning of every seal. A seal whose key was changed is known by it."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a JSON object with its seal, in place of one that it may have had.

    Equal contents have equal seals.
    """
    rest = _without_seal(content)
    return {**rest, SEAL: _seal_of(json.loads(json.dumps(rest)))}


def is_broken(content: Mapping[str, Any]) -> bool:
    """Tell whether an object that was read from JSON has another content than when it was sealed.

    An object without a seal is not broken.
    """
    rest = _without_seal(content)
    is_sealed = SEAL in content or any(isinstance(value, str) and value.startswith(KIND) for value in rest.values())
    return is_sealed and content.get(SEAL) != _seal_of(rest)


def _without_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != SEAL}


def _seal_of(content: Any) -> str:
    return KIND + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
