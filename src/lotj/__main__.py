"""``python -m lotj`` is ``lotj``."""

import sys

from lotj.cli import main

if __name__ == "__main__":
    sys.exit(main())
