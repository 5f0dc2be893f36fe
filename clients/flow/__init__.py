"""Shared by all clients to keep requests in flight: prefetching, limits, waiting, signals."""
