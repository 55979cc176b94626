"""UniVTG, as released, without pre-training. Every clip says whether it is foreground and how far its moment
reaches."""
