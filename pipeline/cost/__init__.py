"""What a run will cost, before it is started: bytes, core hours, GPU hours, jobs."""
