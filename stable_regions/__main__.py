"""`python -m stable_regions` is the command `stable-regions`."""

import sys

from stable_regions.front.command import main

if __name__ == "__main__":
    sys.exit(main())
