"""How long a failed node waits before it runs again: Dagster's ``RetryPolicy``, for direct runs."""

import random

from rayflow_dagster.types import RetrySpec


def retry_delay(retry: RetrySpec, attempt: int) -> float:
    """Seconds to wait before ``attempt`` (1 is the first retry).

    Linear: ``delay * attempt``; exponential: ``delay * (2 ** attempt - 1)``; jitter picks a
    random part of it, as Dagster's full jitter does.
    """
    delay = retry["delay"]
    match retry.get("backoff"):
        case "linear":
            delay *= attempt
        case "exponential":
            delay *= 2**attempt - 1
    return random.random() * delay if retry.get("jitter") else delay
