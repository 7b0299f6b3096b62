"""The command line as `python -m hyperpolicy`."""

from hyperpolicy.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
