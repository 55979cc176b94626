"""Labels, batches, matching, losses, the loop, checkpoints and predictions."""
