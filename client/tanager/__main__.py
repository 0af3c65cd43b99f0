"""Runs the `tanager` command: `python -m tanager`."""

import sys

from tanager.cli import main

sys.exit(main())
