"""TR-DETR: task-reciprocal moment retrieval and highlight detection, as released and as printed."""
