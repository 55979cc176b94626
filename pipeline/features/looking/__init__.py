"""Draws the rows of one video as a picture, and compares two stores with a verdict."""
