"""The simple client: images of LArCV files to any one service."""
