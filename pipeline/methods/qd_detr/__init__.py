"""QD-DETR: clips that look at the query, and scores that a wrong query has to lower, as released."""
