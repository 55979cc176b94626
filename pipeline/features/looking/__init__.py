"""Rows are looked at and compared: pictures of one video, and a verdict on two stores."""
