"""EaTR, as released. Moment queries begin as events of the video, which are found without the query."""
