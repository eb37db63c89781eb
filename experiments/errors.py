"""The one exception for people."""


class UserError(Exception):
    """Something a person can put right: the message is one sentence that says what, where and the remedy."""
