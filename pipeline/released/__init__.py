"""Files of released systems: their checkpoints become ours, and ours meets the figures that they computed."""
