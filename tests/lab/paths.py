"""Where things are."""
import os

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(TESTS)
BUILD = os.path.join(ROOT, "build")
SCRATCH = os.path.join(BUILD, "scratch")
SIGNET = os.environ.get("SIGNET", os.path.join(BUILD, "release/src/signet"))
SIGNET_FAULTS = os.path.join(BUILD, "faults/src/signet")
