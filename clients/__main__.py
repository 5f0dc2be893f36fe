"""`python -m clients` runs `ssnet`. Ctrl-C ends it quietly, even while libraries load."""

import sys


def main() -> None:
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
