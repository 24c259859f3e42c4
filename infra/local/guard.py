"""Starts a program in its own session, so that Ctrl-C in a terminal does not reach it.

Usage: guard.py [--parent PID] PROGRAM [ARGUMENT...]

With --parent, the program stops when that process ends for any reason.
"""

import os
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.2
GRACE_SECONDS = 15


def main():
    arguments = sys.argv[1:]
    parent = None
    if arguments[:1] == ["--parent"]:
        parent, arguments = int(arguments[1]), arguments[2:]
    if not arguments:
        sys.exit(__doc__)
    os.setsid()
    if parent is None:
        os.execvp(arguments[0], arguments)
    child = subprocess.Popen(arguments)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while child.poll() is None and os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    child.terminate()
    try:
        code = child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    sys.exit(code)


if __name__ == "__main__":
    main()
