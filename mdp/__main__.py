"""`python -m mdp` does the same as the command `mdp`."""

from .cli import main

main()
