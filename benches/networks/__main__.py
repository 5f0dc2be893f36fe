"""`python -m benches.networks`."""

from .cli import main

main()
