"""Exit status 0 if `/healthz` of the page in this container answers 200; else 1, with the reason.

The page is asked at ECOVISION_EDGE_HEALTH_URL, http://127.0.0.1:8080/healthz unless that is set, with the
token of ECOVISION_EDGE_HTTP_TOKEN if there is one. Nothing but Python's own library is needed.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8080/healthz"
SECONDS = 4  # below the container engine's own limit, so that the reason is told


def problem() -> str | None:
    """Return why the page is not well; None if it is."""
    token = os.environ.get("ECOVISION_EDGE_HTTP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(os.environ.get("ECOVISION_EDGE_HEALTH_URL", URL), headers=headers)  # noqa: S310 - the container's own setting
    try:
        # Without proxies: the page is in this container.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read(500).decode(errors='replace').strip()}"
    except (OSError, ValueError) as error:
        return str(error)


if __name__ == "__main__":
    found = problem()
    if found is not None:
        sys.stderr.write(f"{found}\n")
    sys.exit(found is not None)
