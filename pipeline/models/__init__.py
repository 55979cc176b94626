"""This room holds parts that methods share: layers, masks, matching, losses, labels, and batches and outputs."""
