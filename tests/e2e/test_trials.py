"""A bundle tried beside the one that is served: on a share of the users, or unseen by them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess

from tanager import (
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    Item,
    NotFoundError,
    TrialMode,
    UserEvent,
)

if TYPE_CHECKING:
    from pathlib import Path

USERS = [f"user-{number}" for number in range(200)]


@pytest.fixture
def bundles(two_bundles: Path) -> Path:
    return two_bundles


@pytest.fixture
def options(bundles: Path, tmp_path: Path) -> list[str]:
    return ["--bundles", str(bundles), "--state", str(tmp_path / "state"), "--log.calls", "false"]


def variants(client: Client) -> dict[str, str]:
    """The variant of each user, who must be answered from the bundle that belongs to it."""
    ids = {"second": client.status().trial, "control": client.status()}
    found = {}
    for user_id in USERS:
        answer = client.recommend(user_id=user_id, page_size=2)
        of = ids[answer.variant]
        assert of is not None
        assert answer.bundle_id == of.bundle.bundle_id
        found[user_id] = answer.variant
    return found


def test_a_share_of_the_users_is_answered_from_another_bundle(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        assert client.recommend(user_id="user-1").variant == ""
        begun = client.start_trial("second", 0.2).trial
        assert (begun.variant, begun.mode, begun.share) == ("second", TrialMode.SPLIT, 0.2)
        assert begun.bundle.bundle_id != client.status().bundle.bundle_id
        found = variants(client)
        taken = {user_id for user_id, variant in found.items() if variant == "second"}
        assert 20 <= len(taken) <= 60  # of 200 a fifth, but for five standard deviations
        assert variants(client) == found
        # Nobody is of no variant, and who asks what is not for a user.
        assert client.recommend(text="war").variant == ""
        assert client.similar_items("film-war-1").variant == ""
        assert client.rank(["film-war-1", "book-love-2"], user_id=min(taken)).variant == "second"
        together = client.batch_recommend(USERS, page_size=2)
        assert {user.user_id: user.variant for user in together} == found
        trial = client.status().trial
        assert trial is not None
        assert trial.candidate.list_count == 3 * len(taken) + 1
        assert trial.control.list_count == 3 * (len(USERS) - len(taken))
        assert trial.candidate.failed_count == trial.control.failed_count == 0
        assert trial.candidate.shown_item_count == 2 * 2 * len(taken)
        metrics = server.metrics()
        labels = f'{{bundle_id="{trial.bundle.bundle_id}",variant="second"}}'
        assert metrics[f"tanager_trial_lists_total{labels}"] == trial.candidate.list_count
        assert metrics[f"tanager_trial_shown_items_total{labels}"] == trial.candidate.shown_item_count
        assert metrics["tanager_trial_share"] == 0.2

        # A larger share has all of the smaller one; it is counted anew.
        grown = client.start_trial("second", 0.6).trial
        assert grown.candidate.list_count == 0
        assert {user_id for user_id, variant in variants(client).items() if variant == "second"} > taken

        ended = client.end_trial().trial
        assert ended is not None
        assert ended.candidate.list_count + ended.control.list_count == len(USERS)
        assert client.status().trial is None
        assert client.end_trial().trial is None
        assert {client.recommend(user_id=user_id).variant for user_id in USERS[:20]} == {""}


def test_what_is_written_reaches_both_and_events_are_counted_for_the_list_that_showed_them(
    bundles: Path, options: list[str]
):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        client.upsert_items([Item(item_id="before", text="nature music old", domain="film")])
        client.start_trial("second", 0.5)
        client.upsert_items([Item(item_id="new", text="nature music new", domain="film")])
        client.delete_items(["film-war-1"])
        by = {variant: user_id for user_id, variant in variants(client).items()}
        for user_id in by.values():
            answer = client.recommend(user_id=user_id, text="nature music new", page_size=900)
            shown = [result.item_id for result in answer]
            assert shown[0] == "new"
            assert "before" in shown
            assert "film-war-1" not in shown
            event = UserEvent(
                user_id=user_id, item_id="new", type="click", attribution_token=answer.attribution_token, weight=0.5
            )
            assert client.write_events([event, event]).unattributed_count == 0
            # Each knows what the user did.
            assert "new" not in [result.item_id for result in client.recommend(user_id=user_id, page_size=900)]
        client.write_events([UserEvent(user_id="user-1", item_id="new", type="click")])
        trial = client.status().trial
        assert trial is not None
        for counts in (trial.control, trial.candidate):
            assert (counts.attributed_event_count, counts.attributed_weight) == (1, 0.5)  # written twice, it is one
            assert counts.short_count == 2
            assert counts.shown_item_count > 120


def test_a_shadow_is_compared_and_nobody_sees_it(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        served = client.status().bundle.bundle_id
        client.start_trial("second", 1.0, mode=TrialMode.SHADOW, variant="next")
        for user_id in USERS[:20]:
            answer = client.recommend(user_id=user_id, text="war")
            assert (answer.bundle_id, answer.variant) == (served, "")
        client.recommend(text="love")
        first = client.recommend(text="love", page_size=3)
        client.recommend(text="love", page_size=3, page_token=first.next_page_token)
        ended = client.end_trial().trial  # waits for those under way
        assert ended is not None
        assert ended.variant == "next"
        assert ended.compared_count + ended.skipped_count == 22
        assert ended.compared_count == ended.candidate.list_count == ended.control.list_count > 0
        assert 0.5 < ended.mean_overlap <= 1.0  # the same model, in int8
        assert ended.candidate.mean_us > 0


def test_a_trial_goes_on_after_a_restart_and_its_bundle_is_served_without_loading(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        client.start_trial("second", 0.3)
        client.upsert_items([Item(item_id="new", text="nature music new", domain="film")])
        found = variants(client)
        server.kill()
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        assert variants(client) == found
        tried = client.status().trial
        assert tried is not None
        page = client.recommend(user_id=min(u for u, v in found.items() if v == "second"), page_size=2)
        with pytest.raises(FailedPreconditionError, match="is served"):
            client.start_trial("first", 0.5)
        with pytest.raises(FailedPreconditionError, match="trial of 'second' is under way"):
            client.start_trial("second", 0.5, variant="other")
        done = client.activate_bundle("second")
        assert (done.bundle.bundle_id, done.encoded_count) == (tried.bundle.bundle_id, 0)
        assert client.status().trial is None
        # Who was of the variant goes on where the pages were.
        following = client.recommend(
            user_id=min(u for u, v in found.items() if v == "second"), page_size=2, page_token=page.next_page_token
        )
        assert not {result.item_id for result in page} & {result.item_id for result in following}
        assert client.recommend(text="nature music new", page_size=1)[0].item_id == "new"
        assert client.rollback_bundle().bundle.bundle_id != tried.bundle.bundle_id
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        assert client.status().trial is None


def test_another_bundle_may_be_served_while_one_is_tried(bundles: Path, options: list[str], tmp_path: Path):
    more = tmp_path / "more"
    shutil.copytree(bundles, more)
    shutil.copytree(bundles / "first", more / "third")
    options[1] = str(more)
    with ServerProcess(more / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        client.start_trial("second", 0.5)
        found = variants(client)
        before = client.status().trial
        client.activate_bundle("third")
        after = client.status().trial
        assert before is not None
        assert after is not None
        assert before.control.list_count > after.control.list_count == 0, "it was of another bundle"
        assert variants(client) == found
        client.upsert_items([Item(item_id="new", text="nature music new", domain="film")])
        for user_id in USERS[:8]:
            assert client.recommend(user_id=user_id, text="nature music new")[0].item_id == "new"
        # Whatever becomes of the directories of what is served and tried.
        shutil.rmtree(more / "second")
        shutil.rmtree(more / "third")
        assert len(client.list_bundles()) == 1
        client.rollback_bundle()
        assert variants(client) == found


def test_what_cannot_be_tried_is_told(bundles: Path, options: list[str], tmp_path: Path):
    more = tmp_path / "more"
    shutil.copytree(bundles, more)
    options[1] = str(more)
    with ServerProcess(more / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        for share in (0.0, -1.0, 1.01, float("nan")):
            with pytest.raises(InvalidArgumentError, match="share"):
                client.start_trial("second", share)
        with pytest.raises(InvalidArgumentError, match="variant"):
            client.start_trial("second", 0.5, variant="control")
        with pytest.raises(NotFoundError, match="third"):
            client.start_trial("third", 0.5)
        assert client.status().trial is None
        client.start_trial("second", 0.5)
        shutil.rmtree(more / "second")
    # Its bundle is gone: the server starts, and tells it.
    with ServerProcess(more / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        assert client.status().trial is None
        assert client.recommend(user_id="user-1").variant == ""
        assert client.end_trial().trial is None
    assert "the trial does not go on" in " ".join(record["message"] for record in server.log)


def test_changes_one_after_the_other_do_not_wait_for_each_other(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=20) as client:
        client.start_trial("second", 1.0, mode=TrialMode.SHADOW)
        for _ in range(3):
            for number in range(20):
                client.recommend(text=f"war {number}", user_id="ann")
            client.activate_bundle("second", timeout_s=20)
            client.rollback_bundle(timeout_s=20)
            client.start_trial("second", 1.0, mode=TrialMode.SHADOW, timeout_s=20)
        assert client.end_trial(timeout_s=20).trial is not None


def test_a_server_without_state_tries_bundles_too(bundles: Path):
    with (
        ServerProcess(bundles / "first", "--bundles", str(bundles)) as server,
        Client(server.address, timeout_s=60) as client,
    ):
        client.start_trial("second", 0.5)
        assert set(variants(client).values()) == {"control", "second"}
        client.activate_bundle("second")
        assert client.status().trial is None
        assert client.recommend(user_id="user-1").bundle_id == client.status().bundle.bundle_id
