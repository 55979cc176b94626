"""Computes the rows of videos, sounds and queries. One decode serves several networks; each family gets a store."""
