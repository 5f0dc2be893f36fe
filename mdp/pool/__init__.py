"""Pools of workers on a batch system: launchers, the pool folder, and the keeper."""
