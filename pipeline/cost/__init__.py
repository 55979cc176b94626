"""Estimates what a run costs before it is started: bytes, core hours, GPU hours and jobs."""
