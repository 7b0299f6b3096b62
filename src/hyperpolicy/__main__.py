"""`python -m hyperpolicy` does what `hyperpolicy` does."""

import sys

from hyperpolicy.cli import main
from hyperpolicy.cluster.task import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
