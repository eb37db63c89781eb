"""Fails unless the main command printed the whole digits table, and numbers as good as it should print."""

import re
import sys
from pathlib import Path

CELLS = 24
NUMBER = r"\d+(?:\.\d+)?"
SCORE = rf"\s+({NUMBER}) ± {NUMBER}(?:\s+[≈*])?"
ACCURACY = rf"\s+({NUMBER})(?: ± {NUMBER})? %(?:\s+[≈*])?"
ROW = rf"^(nano|micro)\s+(yes|no)\s+([12])\s+(\w+){SCORE * 3}{ACCURACY}\s*$"
REAL = rf"^897 real train images\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*$"
NOISE = rf"^pure noise\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s*$"

output = Path(sys.argv[1]).read_text()
rows = re.findall(ROW, output, re.MULTILINE)
noise = re.search(NOISE, output, re.MULTILINE)
problems = []
if len({row[:4] for row in rows}) != CELLS:
    problems.append(f"the table has {len(rows)} whole rows, not {CELLS}")
if "classifier features (version 2), 64-d; 1,000 images drawn; 300 real images of each split" not in output:
    problems.append("the numbers are not labelled with features, images and references")
if not re.search(REAL, output, re.MULTILINE):
    problems.append("there is no row of real images")
if "≈" not in output:
    problems.append("no cells are marked as not significantly different from the best")
if noise is None:
    problems.append("there is no row for pure noise")
else:
    worst = max((float(row[6]) for row in rows), default=float("inf"))
    if worst * 8 > float(noise[3]):
        problems.append(f"a test FID of {worst} is not 8 times below that of noise, {noise[3]}")
if not any(row[2] == "2" and float(row[7]) >= 90 for row in rows):
    problems.append("no guided cell shows the asked class in 90 % of its images")
if problems:
    sys.exit("The table is not as it should be: " + "; ".join(problems))
print(f"The table is full: {CELLS} cells.")
