"""The processes of a simulated site; each drives a real core as its loop does."""
