"""Every fault of docs/faults.md: what is done to the small workflow, where, and how it may end.

A cell is a fault at a place: a stage, or a kind of file. It has one of three outcomes. After each of them the results
are compared byte by byte with those that nobody disturbed, and what a refusal advises is done before.
"""

from __future__ import annotations

from functools import partial

from fault_files import HOWS, KINDS, MANIFESTS, another_count, damaged, read_when_damaged, state
from fault_machine import clock, full_disk, kill, memory, quota, read_only, size_limit, two_at_once
from fault_outcome import JOBS, Cell
from fault_outside import dying_server, hanging_decoder
from fault_snakemake import RECORDS, driver_killed, group_killed, records_damaged

AT_STAGES = {
    "kill -9 at random moments": kill,
    "kill -9 of Snakemake and all its jobs": group_killed,
    "kill -9 of Snakemake alone": driver_killed,
    "two at once": two_at_once,
    "the clock set back by a day": clock,
    "disk full": full_disk,
    "a limit on the size of files": size_limit,
    "quota used up": quota,
    "results that are read-only": read_only,
    "no memory left when the work begins": memory,
}
"""Fault → what it does at a stage. It happens at every stage."""

OUTSIDE = {
    "a decoder that hangs": (hanging_decoder, ("videos", "extract")),
    "a server that dies half-way": (dying_server, ("fetch", "videos")),
}
"""Fault → what it does at a stage, and the stages that it can happen at."""

CELLS = [
    *(Cell(fault, stage, partial(happens, stage)) for fault, happens in AT_STAGES.items() for stage in JOBS),
    *(Cell(fault, stage, partial(happens, stage)) for fault, (happens, stages) in OUTSIDE.items() for stage in stages),
    *(Cell(how, kind, partial(damaged, how, kind)) for how in HOWS for kind in KINDS if kind != "a fetched video"),
    *(Cell(how, "the state of a killed training", partial(state, how)) for how in HOWS),
    *(Cell(how, records, partial(records_damaged, how, records)) for records in RECORDS for how in RECORDS[records]),
    *(Cell("one bit flipped", kind, partial(damaged, "one bit flipped", kind)) for kind in MANIFESTS),
    *(Cell("another number in the counts", kind, partial(another_count, kind)) for kind in MANIFESTS),
    *(
        Cell(f"{how} just before it is read", kind, partial(read_when_damaged, how, kind))
        for how in ("deleted", "one bit flipped")
        for kind, (_, reader) in KINDS.items()
        if reader
    ),
]
"""Every fault at every place. A fetched video is compared with its account again when a stage reads it."""
