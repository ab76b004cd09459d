"""`python -m tideover`: the same as the command `tideover`."""

import sys

from tideover.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
