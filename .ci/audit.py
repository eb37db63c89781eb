"""Fail where a package that is installed here has a known vulnerability; say so where that cannot be known.

pip-audit asks PyPI's vulnerability service. Where only a mirror of packages can be reached, which has no such service,
nothing is audited: that is printed, and is no failure.
"""

import json
import subprocess
import sys


def main() -> int:
    """Audit the environment; the exit code is 1 if there is a vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"pip-audit: SKIPPED, nothing was audited ({reason})")
        return 0
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print(f"pip-audit: SKIPPED, no vulnerability service can be reached for any of {len(packages)} packages")
        return 0
    found = [(package, each) for package in audited for each in package["vulns"]]
    for package, each in found:
        fixed = ", ".join(each.get("fix_versions", [])) or "none yet"
        print(f"pip-audit: {package['name']} {package['version']}: {each['id']}; fixed in {fixed}")
    print(f"pip-audit: {len(audited)} of {len(packages)} packages audited, {len(found)} vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
