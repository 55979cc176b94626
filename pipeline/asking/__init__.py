"""Lets a trained run answer queries about a user's video. The video is encoded once, and then any number of queries can
be asked. The entrance is `moments.py`: `Moments.load(run)`, `.encode(video)`, `.ask(encoded, query)`. The rows, the
words and the network are computed by the code of the stages `extract` and `predict`.
"""
