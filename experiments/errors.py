"""UserError, RayLost, and any error as one line."""

from experiments.redaction import redact
from experiments.wording import printable, shortened

LONGEST = 300  # characters of an error in one line


class UserError(Exception):
    """Something a person can put right: the message is one sentence that says what, where and the remedy.

    Passwords in it, such as those of a server's address, are hidden; control characters are written out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(redact(message)))


class RayLost(Exception):
    """Ray's processes on this machine have ended, and only a new process can start Ray again.

    spent_s: seconds of devices that the run has used so far, for its budget.
    """

    def __init__(self, spent_s: float) -> None:
        super().__init__("Ray's processes have ended")
        self.spent_s = spent_s


def one_line(error: BaseException) -> str:
    """What an error says, in its first line; MLflow's have their text in `message`."""
    lines = str(getattr(error, "message", error)).strip().splitlines()
    if not lines:
        return type(error).__name__
    return shortened(printable(redact(lines[0])), LONGEST)
