"""Lists that are logged, events that are joined to them, places that are left to chance: over a real server."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess

from tanager import Client, FailedPreconditionError, InvalidArgumentError, Source, UserEvent
from tanager_export.dataset import export_state
from tanager_server.live import read_impression
from tanager_server.state import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from tanager import Recommendations


def test_events_are_joined_to_what_was_shown_across_a_restart(tiny_bundle: Path, tmp_path: Path):
    state = tmp_path / "state"
    backups = tmp_path / "backups"
    backups.mkdir()
    options = ("--state", str(state), "--backups", str(backups), "--exploration.share", "0.5")
    with ServerProcess(tiny_bundle, *options) as server, Client(server.address, timeout_s=30) as client:
        lists = [client.recommend(user_id="ann") for _ in range(20)]
        tokens = [shown.attribution_token for shown in lists]
        assert len(set(tokens)) == 20
        assert all(tokens)
        assert client.recommend().attribution_token == "", "nobody was shown it"
        drawn = [item for shown in lists for item in shown if Source.EXPLORATION in item.sources]
        assert drawn
        assert all(0.0 < item.propensity < 1.0 for item in drawn)
        assert all(shown[0].propensity == 1.0 for shown in lists)
        first = lists[0]
        absent = next(item.item_id for item in client.recommend(page_size=100) if item.item_id not in _ids(first))
        written = client.write_events(
            [
                clicked("1", first[2].item_id, tokens[0]),
                clicked("2", absent, tokens[0]),
            ]
        )
        assert (written.written_count, written.unattributed_count) == (2, 1)
        assert client.back_up_state("now") > 0
        export_state(backups / "now", tiny_bundle, tmp_path / "dataset")  # while it is served
        with pytest.raises(FailedPreconditionError, match="now"):
            client.back_up_state("now")
        with pytest.raises(InvalidArgumentError, match="name"):
            client.back_up_state("../elsewhere")
        with (tmp_path / "dataset" / "interactions.csv").open(newline="") as file:
            told = {row["item_id"]: row["propensity"] for row in csv.DictReader(file)}
        assert told == {first[2].item_id: "1", absent: ""}
    with ServerProcess(tiny_bundle, *options) as server, Client(server.address, timeout_s=30) as client:
        written = client.write_events(
            [
                clicked("3", lists[19][1].item_id, tokens[19]),
                clicked("4", "film-war-1", "made up"),
            ]
        )
        assert (written.written_count, written.unattributed_count) == (2, 1)
        assert client.purge_user("bob").impression_count == 0
    with SqliteStore(state) as store:
        kept = store.lookup_impression(tokens[5])
        assert kept is not None
        assert kept.user_id == "ann"
        shown = read_impression(kept.data)
        assert list(shown.item_ids) == _ids(lists[5])
        assert [round(share, 5) for share in shown.propensities] == [round(item.propensity, 5) for item in lists[5]]
    with ServerProcess(tiny_bundle, *options) as server, Client(server.address, timeout_s=30) as client:
        assert client.purge_user("ann").impression_count == 20


def clicked(event_id: str, item_id: str, token: str) -> UserEvent:
    return UserEvent(user_id="ann", item_id=item_id, type="click", event_id=event_id, attribution_token=token)


def _ids(shown: Recommendations) -> list[str]:
    return [item.item_id for item in shown]
