"""A section whose process is killed, as by a system without memory."""

import os
import signal


def run(setting, report):
    report.check("before it dies", 0, 0)
    os.kill(os.getpid(), signal.SIGKILL)
