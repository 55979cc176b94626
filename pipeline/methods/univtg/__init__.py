"""UniVTG: every clip says whether it is foreground and how far its moment reaches. Released, without pre-training."""
