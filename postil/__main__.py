"""`python -m postil` is `postil`."""

import sys

from postil.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
