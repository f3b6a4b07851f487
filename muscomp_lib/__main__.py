"""`python -m muscomp_lib`: the command `muscomp`."""

import sys

from muscomp_lib.cli import main

sys.exit(main())
