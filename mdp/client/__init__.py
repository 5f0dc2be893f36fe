"""Clients: requests from any thread, their tries and deadlines, and the loop that runs them."""
