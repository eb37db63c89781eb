"""Whether processes of this machine reach each other by network, as those of Ray and MLflow must."""

from __future__ import annotations

import socket

from experiments.errors import UserError

LOOPBACK = "127.0.0.1"  # what listens here is never reached from another machine
ANSWER_S = 5.0
REMEDY = "bring the loopback interface up, as root: ip link set lo up"


def loopback_problem() -> str | None:
    """Return why a connection of this machine with itself fails; None where it does not."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), ANSWER_S).close()
    except OSError as error:
        return f"this machine cannot connect to itself at {LOOPBACK} ({error.strerror or error})"
    return None


def require_loopback(user: str) -> None:
    """Raise UserError where processes of this machine cannot reach each other. user: who needs that, such as Ray."""
    problem = loopback_problem()
    if problem is not None:
        raise UserError(f"{problem}, which {user} needs; {REMEDY}")
