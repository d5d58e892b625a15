"""`handpipe report`: a session's results as one HTML file, with a player, charts and their explanation."""
