"""UserError, and any error as one line."""


class UserError(Exception):
    """Something a person can put right: the message is one sentence that says what, where and the remedy."""


def one_line(error: Exception) -> str:
    """What an error says, in its first line; MLflow's have their text in `message`."""
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
