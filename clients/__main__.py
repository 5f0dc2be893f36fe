"""`python -m clients` is `ssnet`."""

from .cli import main

main()
