"""Rows of videos, sounds and queries: one decode, several networks, one store for each family."""
