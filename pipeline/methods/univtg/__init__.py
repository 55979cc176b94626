"""UniVTG, as released, without pre-training. For every clip it predicts whether the clip is foreground, and the bounds
of its moment."""
