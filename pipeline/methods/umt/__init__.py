"""UMT: every clip is a query, and a moment is a peak among clips. Released, without pre-training."""
