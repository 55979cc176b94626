"""The unfinished file of a download: the bytes so far, their digest, and a note that names the version of the file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from pipeline import files


class Partial:
    """The unfinished file beside `target`. It is hidden and survives a killed job; its note says where the bytes came
    from."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.partial")
        self.note = target.with_name(f".{target.name}.partial.json")
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Number of bytes that are here already."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""
        return self._hash.hexdigest()

    def version(self, url: str) -> str | None:
        """Return the entity tag or date under which `url` offered the bytes that are here, or None if they cannot be
        used."""
        if not (self.size and self.note.exists()):
            return None
        note = files.read_json(self.note, files.MADE_HERE)
        return note["version"] if note["url"] == url else None

    def start(self, url: str, version: str | None) -> IO[bytes]:
        """Open for the whole file. Bytes that were here are deleted."""
        self.drop()
        files.write_json(self.note, {"url": url, "version": version})
        self._hash, self._hashed = hashlib.sha256(), 0
        return open(self.path, "wb")

    def go_on(self) -> IO[bytes]:
        """Open for the missing rest. Bytes of an earlier process are read once, to continue the digest."""
        if self._hashed != self.size:
            self._hash, self._hashed = hashlib.sha256(), 0
            with open(self.path, "rb") as file:
                while chunk := file.read(files.CHUNK_BYTES):
                    self._feed(chunk)
        return open(self.path, "ab")

    def write(self, file: IO[bytes], chunk: bytes) -> None:
        """Append to the file and to its digest."""
        file.write(chunk)
        self._feed(chunk)

    def finish(self, target: Path) -> None:
        """Rename the complete file to its target. The content and the name are on disk on return. Raises OSError."""
        files.put_in_place(self.path, target)
        self.note.unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete the unfinished file and its note, and reset the digest."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _feed(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._hashed += len(chunk)
