"""A trained run answers queries about a video of one's own: the video is encoded once, then asked as often as wanted.

`moments.py` is the door: `Moments.load(run)`, `.encode(video)`, `.ask(encoded, query)`. The rows, the words and the
network are those of the stages `extract` and `predict`; nothing is computed in another way here.
"""
