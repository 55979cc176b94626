"""This room examines whether a machine can run what a config asks for, and says what to do where it cannot."""
