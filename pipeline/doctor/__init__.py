"""Examines whether a machine can run what a config asks for, and says what to do if it cannot."""
