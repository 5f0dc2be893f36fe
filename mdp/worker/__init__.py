"""Workers: what users subclass, and the host process that speaks for the one that computes."""
