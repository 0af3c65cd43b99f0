"""`python -m tanager_export` is `tanager-export`."""

import sys

from tanager_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
