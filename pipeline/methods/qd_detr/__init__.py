"""QD-DETR, as released. Clips attend to the query, and they learn low scores with a wrong query."""
