"""Moment-DETR: moments and highlights from one joint sequence of clips and words, as released."""
