"""Unpacks downloaded archives into a folder. No member of an archive can be written outside this folder.

A killed job goes on where it stopped: a member that exists at its full size is not written again, if the archive is the
same. A zip inside an archive (such as the videos of TVSum) is unpacked, too, into a folder of its name. A member is
skipped and reported when it is a link or a device, or when its name cannot be printed or is refused by file systems. An
archive is refused when a name in it points outside the folder, or when it unpacks to far more bytes than an honest
archive of its size.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline import csv_file, files, progress, provenance, stage_requests
from pipeline.acquire.sources import ANOTHER_ADDRESS
from pipeline.errors import PipelineError, printable
from pipeline.layout import Layout
from pipeline.manifests import files_of, input_digests
from pipeline.names import name_problem
from pipeline.stage_settings import Nothing
from pipeline.stages import StageJob

INDEX_COLUMNS = ("member", "bytes")

LARGEST_RATIO = 100
"""Largest number of unpacked bytes per packed byte. Video is near 1, features are below 10, text is below 30."""
ALWAYS_ALLOWED_BYTES = 1 << 30

NOT_A_FILE = "is a link or a device"

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    UnicodeDecodeError,
    OSError,
)


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    open: a function that opens the content, which must be read before the next member is asked for. why_not: the reason
    why this member is skipped, None for a member that is unpacked.
    """

    name: str
    n_bytes: int
    open: Callable[[], IO[bytes]]
    why_not: str | None = None


def unpack(job: StageJob[Nothing]) -> bool:
    """Unpack a fetched archive into `{results}/resources/{name}/files/`. Returns whether there was anything to do.

    The manifest lists one file only, `index.csv` (columns: member, bytes). So ten thousand videos have their names and
    sizes in the index, and the stages that read them take their digests. Raises PipelineError for a damaged archive,
    and for one that tries to leave its folder or to fill the disk.
    """
    name, layout, fetched = job.about["name"], job.layout, job.input("fetched")
    home = layout.resource(name)

    def work() -> provenance.Outcome:
        (archive,) = files_of(fetched)
        _make_room(layout, name, *input_digests([fetched]).values())
        remedy = f"remove {home}, with its pin.json (and a copy under acquire.local), and fetch it again"
        unpacking = Unpacking(layout.unpacked(name), allowed_bytes(archive.stat().st_size), remedy)
        unpacking.add(archive, PurePosixPath())
        if not unpacking.members:
            why = "; ".join(sorted({left["why"] for left in unpacking.skipped})) or "it is empty"
            remedy = f"remove {home}, with its pin.json, and {ANOTHER_ADDRESS}"
            raise PipelineError(f"it contains no file that can be unpacked ({why})", where=archive, remedy=remedy)
        write_index(layout.index(name), unpacking.members)
        counts = {"files": len(unpacking.members), "bytes": sum(unpacking.members.values())}
        return provenance.Outcome([layout.index(name)], counts, unpacking.skipped)

    _forget_if_short(layout, name)
    want = stage_requests.unpack(job)
    return provenance.run_request(want, job.manifest, work)


def allowed_bytes(packed: int) -> int:
    """Return the largest number of bytes to which an honest archive of `packed` bytes can unpack."""
    return max(ALWAYS_ALLOWED_BYTES, LARGEST_RATIO * packed)


def _forget_if_short(layout: Layout, name: str) -> None:
    """Remove the index when a member is missing. The manifest lists only the index, so the stage then does its work
    again."""
    index, home = layout.index(name), layout.unpacked(name)
    if index.is_file() and not all(_is_there(home / member, size) for member, size in read_index(index).items()):
        index.unlink()


def _make_room(layout: Layout, name: str, archive_sha256: str) -> None:
    """Keep the members only if they came from the same archive, because members of another archive may have the same
    names and sizes."""
    mark, home = layout.unpacked_from(name), layout.unpacked(name)
    if mark.is_file() and mark.read_text() == archive_sha256:
        return
    try:
        if home.exists():
            shutil.rmtree(home)
    except OSError as error:
        raise files.cannot_write(home, error) from error
    with files.atomic(mark) as file:
        file.write(archive_sha256)


def write_index(path: Path, members: dict[str, int]) -> None:
    """Write the table of members: their paths (below `files/`) and sizes in bytes, sorted by path."""
    csv_file.write(path, INDEX_COLUMNS, sorted(members.items()))


def read_index(path: Path) -> dict[str, int]:
    """Read the index: path of each member below `files/` → bytes.

    Raises PipelineError when the file cannot be read or is no index.
    """
    remedy = "delete it and run `unpack` again"
    rows = csv_file.read(path, remedy)
    try:
        return {row["member"]: int(row["bytes"]) for row in rows}
    except (KeyError, ValueError) as error:
        raise PipelineError("is not a table of an archive's members", where=path, remedy=remedy) from error


@dataclass
class Unpacking:
    """The unpacking of one archive, with the members that were written so far.

    folder: the folder that members are written to. allowed_bytes: an archive that unpacks to more bytes is refused.
    remedy: what the user can do about a damaged archive, for error messages.
    """

    folder: Path
    allowed_bytes: int
    remedy: str
    members: dict[str, int] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, archive: Path, below: PurePosixPath) -> None:
        """Unpack one archive into the sub-folder `below`. Raises PipelineError as `unpack` does."""
        for member in progress.lines(members_of(archive, self.remedy), unit="file", what=archive.name):
            place = below / safe_path(member.name, archive)
            why_not = member.why_not or next(filter(None, map(name_problem, place.parts)), "")
            if why_not:
                self.skipped.append({"member": printable(place), "why": why_not})
                continue
            self._spend(member, archive)
            target = self.folder / place
            # Several members may have the same name. The last one counts, and equal sizes do not show which one is
            # there.
            is_again = str(place) in self.members
            if is_again or not _is_there(target, member.n_bytes):
                _write(member, target, archive, self.remedy)
            # `._x.zip` is no zip file: macOS stores attributes of x.zip under that name.
            if target.suffix.lower() == ".zip" and not below.parts and not target.name.startswith("._"):
                self.add(target, place.with_suffix(""))
                target.unlink()
            else:
                self.members[str(place)] = member.n_bytes

    def _spend(self, member: Member, archive: Path) -> None:
        self.n_bytes += member.n_bytes
        if self.n_bytes > self.allowed_bytes:
            raise PipelineError(
                f"holds more than {self.allowed_bytes:,} bytes, over {LARGEST_RATIO} times its size",
                where=f"{archive}, member {member.name}",
                remedy="it may have been made to fill a disk: remove it, and fetch it from another address",
            )


def safe_path(name: str, archive: Path) -> PurePosixPath:
    """Return a member's name as a path that stays below its folder. Raises PipelineError for any other name."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise PipelineError(
            f"member {name!r} points outside the folder",
            where=archive,
            remedy="it may have been made to do harm: remove it, and fetch it from another address",
        )
    return path


def members_of(archive: Path, remedy: str) -> Iterator[Member]:
    """Yield the files of a zip or a tar (of any compression). The content tells which one it is, not the suffix.

    remedy: what the user can do about a damaged archive. Raises PipelineError for a damaged archive.
    """
    try:
        with open(archive, "rb") as file:
            is_zip = file.read(2) == b"PK"
        if is_zip:
            with zipfile.ZipFile(archive) as container:
                yield from _of_zip(container)
        else:
            with tarfile.open(archive, tarinfo=_Header) as container:
                yield from _of_tar(container)
    except _DAMAGE as error:
        raise _damaged(archive, error, remedy) from error


def _of_zip(container: zipfile.ZipFile) -> Iterator[Member]:
    for info in container.infolist():
        if info.filename.endswith("/"):  # is_dir() fails for an empty name
            continue
        why_not = None
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            why_not = NOT_A_FILE
        elif info.flag_bits & 1:
            why_not = "needs a password"
        yield Member(info.filename, info.file_size, partial(container.open, info), why_not)


class _Header(tarfile.TarInfo):
    """The header of a tar member. tarfile takes a damaged header for the archive's end; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read one block of 512 bytes. A block of zeros ends an archive, and tarfile handles it."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(str(error)) from error


def _of_tar(container: tarfile.TarFile) -> Iterator[Member]:
    for info in container:
        if not info.isdir():
            why_not = None if info.isreg() else NOT_A_FILE
            yield Member(_text(info.name), info.size, partial(_content, container, info), why_not)
    while container.fileobj and container.fileobj.read(files.CHUNK_BYTES):
        # The checksum of a compressed stream stands at its end, so the stream is read to the end to have it compared.
        pass


def _text(name: str) -> str:
    """Return a member's name as text. A name that is no UTF-8 is read as Latin-1, which can decode every byte."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode(errors="surrogateescape").decode("latin-1")
    return name


def _content(container: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = container.extractfile(info)
    if content is None:
        raise tarfile.ReadError(f"member {info.name} has no content")
    return content


def _is_there(path: Path, n_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == n_bytes


def _write(member: Member, target: Path, archive: Path, remedy: str) -> None:
    with files.atomic(target, "wb") as file:
        for piece in _pieces(member, archive, remedy):
            file.write(piece)


def _pieces(member: Member, archive: Path, remedy: str) -> Iterator[bytes]:
    try:
        with member.open() as content:
            while piece := content.read(files.CHUNK_BYTES):
                yield piece
    except _DAMAGE as error:
        raise _damaged(archive, error, remedy) from error


def _damaged(archive: Path, error: Exception, remedy: str) -> PipelineError:
    return PipelineError(
        f"cannot be unpacked: it is damaged or is not an archive ({error})",
        where=archive,
        remedy=remedy,
    )
