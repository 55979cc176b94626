"""UMT, as released, without pre-training. Every clip is a query of the decoder, and moments are found at clips with a
high probability of being a centre."""
