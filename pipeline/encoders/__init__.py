"""Encoders turn frames, sound or words into vectors. There is one file for each kind of network."""
