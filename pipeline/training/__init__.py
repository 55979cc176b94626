"""This room trains and predicts, for every method alike: batches, the step, the loop, checkpoints, predictions."""
