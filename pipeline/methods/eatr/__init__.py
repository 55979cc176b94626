"""EaTR, as released. Its moment queries start from events of the video, which are found without the text query."""
