"""Parts that methods share: layers, masks, matching, losses, labels, and what goes in and out."""
