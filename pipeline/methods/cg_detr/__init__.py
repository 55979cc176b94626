"""CG-DETR, as released. Clips take from the words as much as they correlate with them, and dummies take the rest."""
