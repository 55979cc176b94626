"""Batches, the step, the loop, checkpoints and predictions: for every method alike."""
