"""The simple client: sends images of LArCV files to any one service."""
