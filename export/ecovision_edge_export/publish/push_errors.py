"""What goes wrong with a push, each in one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from ecovision_edge.errors import EcovisionError, PushError
from ecovision_edge_export.weights.hub import LOG_IN, hub_host, short_reason

__all__ = ["explained", "http_status"]


@contextlib.contextmanager
def explained(repo: str, kept: str | None = None) -> Iterator[None]:
    """Turn whatever huggingface_hub raises in the block into one line.

    Args:
        repo: That was to be pushed to.
        kept: What is safe all the same, for the end of the line.

    Raises:
        PushError: says what the hub had against it. Our own errors go through as they are.
    """
    try:
        yield
    except EcovisionError:
        raise
    except Exception as e:
        # The hub's own errors, those of its HTTP library (which changed between versions) and of hf_xet
        # (plain RuntimeErrors), OSError, and ValueError over a card.
        raise _explain(e, repo, kept) from e


def _explain(error: BaseException, repo: str, kept: str | None) -> PushError:
    """Return one line for what huggingface_hub raised; `kept` says what is safe all the same."""
    from huggingface_hub import errors

    status = http_status(error)
    kept = f"; {kept}" if kept else ""
    if isinstance(error, errors.OfflineModeIsEnabled):
        return PushError(f"HF_HUB_OFFLINE forbids to push to {repo}", fix=f"unset it{kept}")
    if status == 401:
        return PushError(f"the hub does not know the token (HTTP 401, for {repo})", fix=LOG_IN + kept)
    if status == 403:
        fix = f"it needs the right to write to {repo.partition('/')[0]}'s repositories"
        return PushError(f"the token may not push to {repo} (HTTP 403)", fix=fix + kept)
    if status is not None and (status >= 500 or status == 429):
        return PushError(f"the hub answered HTTP {status} for {repo}", fix=f"try again later{kept}")
    if status is not None:
        return PushError(f"the hub did not take {repo} (HTTP {status}: {short_reason(error)}){kept}")
    if isinstance(error, (json.JSONDecodeError, LookupError, TypeError, AttributeError)):
        return PushError(
            f"{hub_host()} does not answer as a hub does ({short_reason(error)})",
            fix=f"check HF_ENDPOINT and the proxy{kept}",
        )
    return PushError(
        f"could not push to {repo} on {hub_host()} ({short_reason(error)})", fix=f"check the connection{kept}"
    )


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status that the error, or one that caused it, is about."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
