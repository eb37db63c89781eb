"""A section whose second part fails."""


def run(setting, report):
    report.check("the first part", 0, 0)
    with report.attempt("the second part"):
        raise ValueError("no such\nthing")
    report.check("the third part", 0, 0)
