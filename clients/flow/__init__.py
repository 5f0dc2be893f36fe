"""What all clients share to keep requests in flight: prefetching, limits, waiting, signals."""
