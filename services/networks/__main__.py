"""`python -m services.networks`."""

from .cli import main

main()
