"""CG-DETR, as released. A clip attends to the words as much as it correlates with them. The rest of its attention goes
to dummies."""
