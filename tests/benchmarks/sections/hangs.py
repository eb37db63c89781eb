"""A section that finds something, starts a process, and never ends."""

import subprocess
import time


def run(setting, report):
    process = subprocess.Popen(["sleep", "600"])
    report.measure("child", process.pid, "")
    report.check("before it hangs", 1, 2)
    time.sleep(600)
