"""UMT, as released, without pre-training. Every clip is a query, and a moment is a peak among clips."""
