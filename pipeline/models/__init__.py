"""Moment-retrieval and highlight-detection networks: parts, and the models that join them."""
