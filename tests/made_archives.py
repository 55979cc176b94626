"""Archives made from bytes."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

CONTENT = {"top/a.mp4": b"a" * 3000, "top/-b.mp4": b"b" * 10, "c.txt": b""}


def make_tar(path: Path, members: dict[str, bytes], *special: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in special:
            tar.addfile(info)
    return path


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def special(name: str, kind: bytes, points_to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, points_to
    return info
