"""Training and prediction, the same for every method: batches, the step, the loop, checkpoints, predictions."""
