"""What is answered when what was asked for in words cannot be read in time.

The ladder is personal, like the wish, trending, popular: an answer comes from the highest step that there is time for.

- Words beside something else to score (a history, or attributes that the bundle has learned of) are left out whatever
  keeps the encoder from them: no time, no room, or a fault, which it logs and counts.
- Words alone are left out only when the deadline is near: the caller has no time for another try either, and gets what
  is trending or popular. Where the encoder has no room or does not come back the call fails, at once: a list that has
  nothing to do with the wish would hide from balancers and from clients that try again that another server, or this
  one a little later, may do better.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tanager_server.engine.asking import NOTHING_ASKED, answer
from tanager_server.engine.request import Timing
from tanager_server.errors import DeadlineExpiredError, EncodeError, EncoderStuckError, HungTextError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_server.engine.asking import Answered, Question
    from tanager_server.engine.items import LiveItems, Mask
    from tanager_server.runtime import TextEncoder

_RESERVE_SHARE = 0.1
_RESERVE_S = 0.05
"""Of a call's time, what is kept for an answer without words: to rank takes a millisecond, a busy event loop more."""


async def answer_in_time(
    asked: Sequence[Question],
    *,
    alone: bool,
    reach: int,
    texts: TextEncoder,
    items: LiveItems,
    mask: Mask | None,
    deadline: float,
) -> Answered:
    """Encodes the texts of a request and finds the items nearest to them, or says that it was left out.

    Args:
        asked: at least one text.
        alone: whether there is nothing else to score.
        reach: how many items to find.
        texts: what encodes.
        items: where to search.
        mask: of the items that a filter allows; None for no filter.
        deadline: of the call, on the clock of `texts`.

    Raises:
        OverloadedError: the words are all there is, and the queue has no room for them.
        EncoderStuckError: the words are all there is, and the encoder does not come back.
        HungTextError: the words are all there is, and the encoder did not come back from them lately.
        EncodeError: the words are all there is, and the encoder failed.
    """
    began = texts.clock()
    left_s = deadline - began
    reserve_s = max(0.0, min(_RESERVE_S, _RESERVE_SHARE * left_s))
    try:
        if left_s <= 0.0:  # encoded texts are still found in the cache
            return await answer(asked, reach=reach, texts=texts, items=items, mask=mask, deadline=deadline)
        async with asyncio.timeout(left_s - reserve_s):
            return await answer(asked, reach=reach, texts=texts, items=items, mask=mask, deadline=deadline - reserve_s)
    except (TimeoutError, DeadlineExpiredError):
        pass
    except (OverloadedError, EncoderStuckError, HungTextError, EncodeError):
        if alone:
            raise
    return NOTHING_ASKED._replace(timing=Timing(queue_s=texts.clock() - began), degraded=True)
