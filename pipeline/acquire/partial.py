"""The unfinished file of a download: bytes beside the target, a note of which version they are, the digest so far."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from pipeline import files


class Partial:
    """A hidden neighbour of `target` that survives a killed job; the note beside it says where its bytes came from."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.partial")
        self.note = target.with_name(f".{target.name}.partial.json")
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def sha256(self) -> str:
        """Hex digest of what was written."""
        return self._hash.hexdigest()

    def version(self, url: str) -> str | None:
        """The entity tag or date under which `url` offered the bytes here; None where they cannot be gone on with."""
        if not (self.size and self.note.exists()):
            return None
        note = files.read_json(self.note, files.MADE_HERE)
        return note["version"] if note["url"] == url else None

    def start(self, url: str, version: str | None) -> IO[bytes]:
        """Open for the whole file: what was here is gone."""
        self.drop()
        files.write_json(self.note, {"url": url, "version": version})
        self._hash, self._hashed = hashlib.sha256(), 0
        return open(self.path, "wb")

    def go_on(self) -> IO[bytes]:
        """Open for what is missing; bytes of an earlier process are read once, for the digest."""
        if self._hashed != self.size:
            self._hash, self._hashed = hashlib.sha256(), 0
            with open(self.path, "rb") as file:
                while chunk := file.read(files.CHUNK_BYTES):
                    self._feed(chunk)
        return open(self.path, "ab")

    def write(self, file: IO[bytes], chunk: bytes) -> None:
        """Append to the file and to the digest."""
        file.write(chunk)
        self._feed(chunk)

    def finish(self, target: Path) -> None:
        """Give the whole file its name; both are on disk on return. Raises OSError where that fails."""
        files.put_in_place(self.path, target)
        self.note.unlink(missing_ok=True)

    def drop(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _feed(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._hashed += len(chunk)
