"""Moment-DETR, as released. It predicts moments and highlights from one joint sequence of clips and words."""
