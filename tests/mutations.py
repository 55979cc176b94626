"""One mutator of bytes for all tests with hostile files, and a process in which a parser may do its worst."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipeline.errors import PipelineError

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b'"', b"9", b"-", b"{", b"[", b"\xff\xff\xff\x7f", b"\0" * 8)
"""The values that a mutation inserts: ends of ranges, and bytes that mean something in many formats."""

FEW = 100
"""Number of inputs of each parser in the ordinary suite."""
MANY = int(os.environ.get("FUZZ", "10000"))
"""Number of inputs of each parser in `make test-fuzz`."""

LONGEST_S = 10.0
"""An input that takes more seconds of a processor hangs. On a busy machine they take longer than seconds of a clock."""
LONGEST_WAIT_S = 600.0
"""An input that takes more seconds of a clock waits for something that does not come."""

MOST_FAULTS = 5
"""Number of faults after which no more inputs are tried."""
MOST_DEATHS = 20
"""Number of inputs that ended the process, after which no more are tried. A hanging one takes LONGEST_S."""


def mutated(dice: Random, content: bytes, interesting: Sequence[bytes] = INTERESTING) -> bytes:
    """Return the bytes with changes at one to six places. Bytes are changed, repeated, cut out, cut off or replaced by
    special ones."""
    changed = bytearray(content or b"\0")
    for _ in range(dice.randint(1, 6)):
        start = dice.randrange(len(changed))
        stop = min(len(changed), start + dice.choice((1, 1, 2, 8, 40)))
        piece = bytes(changed[start:stop])
        here = dice.randrange(len(changed))
        what = dice.randrange(5)
        if what == 0:
            changed[start] ^= 1 << dice.randrange(8)
        elif what == 1:
            changed[here:here] = piece
        elif what == 2 and stop - start < len(changed):
            del changed[start:stop]
        elif what == 3 and here > 0:
            del changed[here:]
        else:
            put = dice.choice(interesting)
            changed[start : start + len(put)] = put
    return bytes(changed)


@dataclass
class Told:
    """The outcomes of many inputs.

    turn: the number of the next input. died: (input, how) of those that ended the process. faults: (input, what went
    wrong) of the first few others.
    """

    turn: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    died: list[tuple[bytes, str]] = field(default_factory=list)
    faults: list[tuple[bytes, str]] = field(default_factory=list)


def fuzzed(
    parse: Callable[[Path], object],
    inputs: Callable[[int], bytes],
    count: int,
    folder: Path,
    name: str,
    refusals: tuple[type[Exception], ...] = (PipelineError,),
) -> Told:
    """Let another process parse `count` files one after the other, and return the outcomes.

    inputs: a file's content by its number. refusals: exceptions by which the parser may refuse. Any other exception and
    a file written outside the folder are faults. A crash ends the process, and so does an input that takes longer than
    LONGEST_S or LONGEST_WAIT_S. Another process then goes on behind that input.
    """
    folder.mkdir()
    told, answer = Told(), folder.with_suffix(".answer")
    while told.turn < count and len(told.faults) <= MOST_FAULTS and len(told.died) <= MOST_DEATHS:
        child = os.fork()
        if not child:
            code = 1
            try:
                _work(parse, inputs, count, folder / name, refusals, answer, told)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = pickle.loads(answer.read_bytes())  # noqa: S301 - our own process wrote it
        if code:
            is_slow = code in (-signal.SIGPROF, -signal.SIGALRM)
            how = "takes too long" if is_slow else f"ended its process with code {code}"
            told.died.append((inputs(told.turn), how))
            told.turn += 1
    return told


def _work(parse, inputs, count, path, refusals, answer, told) -> None:
    outside, armed = [], False

    def watch(event: str, arguments: tuple) -> None:
        if not armed:
            return
        if event in ("os.system", "subprocess.Popen", "pickle.find_class", "os.exec", "os.posix_spawn"):
            outside.append(f"{event} {arguments[:1]}")
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            target = os.path.realpath(os.fsdecode(arguments[0]))
            if not target.startswith((str(path.parent.resolve()), "/dev/null")):
                outside.append(f"writes {target}")

    sys.addaudithook(watch)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)
    before = _most_memory()
    for turn in range(told.turn, count):
        told.turn, content = turn, inputs(turn)
        path.write_bytes(content)
        told.peak_bytes = max(told.peak_bytes, _most_memory() - before)
        answer.write_bytes(pickle.dumps(told))
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT_S)
        armed = True
        try:
            parse(path)
            told.read += 1
        except refusals as error:
            told.refused += 1
            if isinstance(error, PipelineError) and "\x1b" in str(error):
                told.faults.append((content, "its refusal holds what a terminal would obey"))
        except BaseException:
            told.faults.append((content, traceback.format_exc(limit=-4)))
        armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        taken = time.process_time() - begun
        told.seconds += taken
        told.slowest_s = max(told.slowest_s, taken)
        told.faults += [(content, fault) for fault in outside]
        outside.clear()
        if len(told.faults) > MOST_FAULTS:
            break
        with suppress(FileNotFoundError):
            path.unlink()
    told.turn += 1
    told.peak_bytes = max(told.peak_bytes, _most_memory() - before)
    answer.write_bytes(pickle.dumps(told))


def _most_memory() -> int:
    """Return the most bytes that this process has held at a time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
