"""`python -m tanager_server` is `tanager-server`."""

import sys

from tanager_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
