"""`python -m mdp` is `mdp`."""

from .commands.cli import main

main()
