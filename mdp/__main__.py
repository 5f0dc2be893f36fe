"""`python -m mdp` is `mdp`."""

from .cli import main

main()
