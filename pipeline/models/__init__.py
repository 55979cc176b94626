"""The parts that methods share: layers, masks, matching, losses, labels, batches and outputs."""
