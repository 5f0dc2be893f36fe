"""The workers of `ssnet-files`: production clients that score one file for each request."""
