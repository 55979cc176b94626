"""Moment-DETR, as released. Moments and highlights come from one joint sequence of clips and words."""
