"""Benchmarks, and the tools that trained and measured the shipped networks. Not installed."""
