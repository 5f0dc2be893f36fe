"""`python -m mdp` does the same as the command `mdp`."""

from .commands.cli import main

if __name__ == "__main__":
    main()
