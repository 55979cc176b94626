"""QD-DETR, as released. Clips look at the query, and a wrong query has to lower their scores."""
