"""TR-DETR, as released and as printed. Its moment retrieval and its highlight detection use each other's results."""
