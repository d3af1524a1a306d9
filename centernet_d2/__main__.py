"""``python -m centernet_d2 VERB``: the command `centernet-d2` where it is on no path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
