"""TR-DETR, as released and as printed. Moment retrieval and highlight detection help each other."""
