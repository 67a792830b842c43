"""Where things are; and that nothing outlives the test that started it."""
import ctypes
import os
import signal

libc = ctypes.CDLL(None)


def die_with(sig=signal.SIGKILL):
    """For preexec_fn: the child gets sig when the process that started it is gone, however."""
    parent = os.getpid()

    def ask():
        libc.prctl(1, int(sig), 0, 0, 0)        # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask


TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(TESTS)
BUILD = os.path.join(ROOT, "build")
# The runner sets it: two runs at once do not share files.
SCRATCH = os.environ.get("SIGNET_SCRATCH", os.path.join(BUILD, "scratch/one"))
SIGNET = os.environ.get("SIGNET", os.path.join(BUILD, "release/src/signet"))
SIGNET_ASAN = os.path.join(BUILD, "asan/src/signet")     # with the fault points, too
SIGNET_FAULTS = os.path.join(BUILD, "faults/src/signet")
