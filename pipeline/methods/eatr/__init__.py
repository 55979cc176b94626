"""EaTR: moment queries that begin as events of the video, found without the query, as released."""
