"""Reads files of released systems: imports their checkpoints, and compares our networks with the numbers that they
computed."""
