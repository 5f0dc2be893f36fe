"""The tools of the shipped networks: they train, measure and compare them."""
