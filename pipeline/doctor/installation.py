"""Compares Python and the installed packages with the lock, and with the needs of the stages of the run.

If torch or PyAV is installed, the full lock is compared, and otherwise the light lock. The packages of a stage are
those of its file in `workflow/envs/`, which is made from the same lock. If the package was installed without a
checkout, its metadata list the packages that it needs, but not their versions.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pipeline import programs
from pipeline.doctor.case import CHECKOUT, Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.stages import STAGES
from pipeline.version import DISTRIBUTION, PROJECT

EXTRAS = ("extract", "train")
EXTRA_OF = {
    "videos": "extract",
    "segment": "extract",
    "extract": "extract",
    "train": "train",
    "predict": "train",
    "draw": "train",
    "page": "extract",
}
"""Stage → the extra that it needs. All other stages run on the light installation."""
HEAVY = ("torch", "av")
"""Packages that only the full installation has."""
SAYS_VERSION_S = 10.0
"""Seconds that a program may take to print its version."""

_PIN = re.compile(r"""^\s*(?:- ")?([A-Za-z0-9._-]+==[^"\\\n]+)""", re.MULTILINE)


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about missing packages, other versions, and the stages that this installation can run."""
    yield from python()
    installed = installed_versions()
    yield from packages(case, installed)
    yield stages_that_run(installed)
    yield ffmpeg(case)


def python() -> Iterator[Finding]:
    """Compare the version of Python with the versions that the package allows."""
    found, wanted = platform.python_version(), _requires_python()
    if SpecifierSet(wanted).contains(found, prereleases=True):
        yield ok("python", f"{found}, where {wanted} is asked for")
    else:
        remedy = "install another Python and name it, as in `make PYTHON=python3.12 install`"
        yield problem("python", f"{found}, and {wanted} is asked for", remedy)


def packages(case: Case, installed: Mapping[str, str]) -> Iterator[Finding]:
    """Compare the installed packages with the lock. A missing package is a problem only if the run needs it."""
    lock = lock_of(installed)
    pins = pins_of(lock) if lock else {}
    needed = needed_by(("light", *(case.needs.extras if case.needs else ())))
    missing = sorted((name for name in needed if name not in installed), key=lambda name: (name not in HEAVY, name))
    others = [
        f"{name} {installed[name]} instead of {pin}" for name, pin in pins.items() if _differs(installed, name, pin)
    ]
    spare = sorted(name for name in pins if name not in installed and name not in needed)
    if missing:
        extras = ", ".join(extra for extra in EXTRAS if set(missing) & set(needed_by([extra])))
        stages = f"the stages of the run need them (extra: {extras})" if extras else "every stage needs them"
        yield problem("packages", f"{named(missing)} not installed, and {stages}", to_install())
    if others:
        yield note("packages", f"{named(others)}: numbers may differ from those of the lock", to_install())
    if spare:
        yield note(
            "packages", f"{named(spare)} not installed, and not needed for this run", f"to have them: {to_install()}"
        )
    if not lock:
        remedy = "compare them in a checkout, which has requirements/full.lock"
        yield note("packages", "no lock is here, so no version is compared", remedy)
    elif not missing and not others and not spare:
        yield ok("packages", f"all {len(pins)} of requirements/{lock.name}, at its versions")


def stages_that_run(installed: Mapping[str, str]) -> Finding:
    """Return a finding about the stages that this installation can run, and those that need an extra which is not
    here."""
    absent = [extra for extra in EXTRAS if any(name not in installed for name in needed_by([extra]))]
    if not absent:
        return ok("stages", "this installation runs all of them")
    can = [name for name in STAGES if EXTRA_OF.get(name) not in absent]
    cannot = [f"{name} (extra {EXTRA_OF[name]})" for name in STAGES if name not in can]
    return ok("stages", f"this installation runs {', '.join(can)}; not {', '.join(cannot)}")


def ffmpeg(case: Case) -> Finding:
    """Look for FFmpeg's command line, which joins what yt-dlp fetches. PyAV has its own libraries of FFmpeg."""
    is_needed = case.needs is not None and case.needs.asks_youtube
    if shutil.which("ffmpeg") is None:
        if is_needed:
            what = "not installed, and a source of kind youtube is named: yt-dlp joins pictures and sound with it"
            return problem("ffmpeg", what, "install ffmpeg (apt install ffmpeg), or leave that source out of `videos`")
        return ok("ffmpeg", "not installed, and not needed: no source of kind youtube is named")
    try:
        told = programs.answer(["ffmpeg", "-version"], SAYS_VERSION_S).stdout.partition("Copyright")[0].strip()
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    if told:
        return ok("ffmpeg", told + ("" if is_needed else "; not needed, no source of kind youtube is named"))
    kind = problem if is_needed else note
    return kind("ffmpeg", "is installed, but does not print its version", "install ffmpeg again")


def lock_of(installed: Iterable[str]) -> Path | None:
    """Return the lock that this installation was made from, or None without a checkout."""
    path = CHECKOUT / "requirements" / ("full.lock" if set(HEAVY) & set(installed) else "light.lock")
    return path if path.is_file() else None


def needed_by(parts: Iterable[str]) -> set[str]:
    """Return the names of the packages in parts of the installation. parts: `light`, or names of extras."""
    envs = CHECKOUT / "workflow" / "envs"
    if envs.is_dir():
        return {name for part in parts for name in pins_of(envs / f"{part}.yaml")}
    return {name for part in parts for name in _required(part)}


def pins_of(path: Path) -> dict[str, str]:
    """Read name → version from a lock or an environment file, without packages for other machines."""
    found: dict[str, str] = {}
    for line in _PIN.findall(path.read_text(encoding="utf-8")):
        pin = Requirement(line.strip())
        if pin.marker is None or pin.marker.evaluate():
            found[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    return found


def installed_versions() -> dict[str, str]:
    """Return name → version of every package that this Python can import."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:  # a folder that was left by a removed package has none
            found.setdefault(canonicalize_name(name), one.version or "of no version")
    return found


def to_install() -> str:
    """Return the commands that install the packages of the lock. `make install` alone does nothing if it was run
    before."""
    if not (CHECKOUT / "Makefile").is_file():
        return 'install it with its extras, in a checkout: pip install ".[all]"'
    if (CHECKOUT / ".venv/ready").exists() and Path(sys.prefix).resolve() == (CHECKOUT / ".venv").resolve():
        return "`make clean`, then `make install`"
    return "`make install`, then work in it: . .venv/bin/activate"


def _differs(installed: Mapping[str, str], name: str, pin: str) -> bool:
    """Tell whether another version is installed. The part after a `+` names a build and is not compared."""
    try:
        return name in installed and Version(installed[name]).public != Version(pin).public
    except InvalidVersion:
        return True


def _requires_python() -> str:
    if PROJECT.is_file():
        return str(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["requires-python"])
    return str(metadata.metadata(DISTRIBUTION)["Requires-Python"])


def _required(part: str) -> Iterator[str]:
    """Yield the packages that the metadata of the installed package require. part: `light`, or the name of an extra."""
    extra = "" if part == "light" else part
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        try:
            one = Requirement(line)
        except InvalidRequirement:
            continue
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield canonicalize_name(one.name)
