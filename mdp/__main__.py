"""`python -m mdp` is `mdp`."""

from .commands.cli import main

if __name__ == "__main__":
    main()
