"""A whole site on simulated time: the real cores of `mdp`, a simulated network, faults."""
