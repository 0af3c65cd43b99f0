"""From one page to the next."""

from __future__ import annotations

from tanager._errors import InternalError


def next_token(token: str, found: str, request_id: str) -> str:
    """The token of the next page, empty if there is none.

    Args:
        token: That of the page which was read.
        found: What its answer gave for the next.
        request_id: Of that answer.

    Raises:
        InternalError: It is the same: the pages would never end.
    """
    if found and found == token:
        raise InternalError("the server answered a page with the token of that very page", request_id=request_id)
    return found
