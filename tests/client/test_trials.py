"""Trials: what is sent, and what is made of the answer. The tests of the API run with both clients."""

import datetime as dt

import grpc
import pytest

import tanager
from tanager import cli
from tanager.v1 import common_pb2, model_pb2, recommendation_pb2

TRIAL = model_pb2.Trial(
    variant="next",
    mode=model_pb2.TRIAL_MODE_SPLIT,
    share=0.25,
    bundle=model_pb2.Bundle(bundle_id="abcdef0123456789"),
    control=model_pb2.VariantCounts(list_count=1_300, mean_us=2_500, shown_item_count=13_000),
    candidate=model_pb2.VariantCounts(
        list_count=410,
        failed_count=2,
        degraded_count=3,
        short_count=4,
        mean_us=1_250,
        shown_item_count=4_100,
        attributed_event_count=51,
        attributed_weight=40.5,
    ),
)
TRIAL.count_start_time.FromDatetime(dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC))


async def test_a_trial_is_started_and_ended(client, server):
    server.on("StartTrial", model_pb2.StartTrialResponse(trial=TRIAL))
    server.on("EndTrial", model_pb2.EndTrialResponse())
    begun = await client.start_trial("second", 0.25, mode=tanager.TrialMode.SHADOW, variant="next", request_id="r")
    assert server.call.request == model_pb2.StartTrialRequest(
        name="second", share=0.25, mode=model_pb2.TRIAL_MODE_SHADOW, variant="next"
    )
    trial = begun.trial
    assert (begun.request_id, trial.variant, trial.mode, trial.share) == ("r", "next", tanager.TrialMode.SPLIT, 0.25)
    assert trial.count_start_time == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert trial.bundle.bundle_id == "abcdef0123456789"
    assert trial.candidate == tanager.VariantCounts(
        list_count=410,
        failed_count=2,
        degraded_count=3,
        short_count=4,
        mean_us=1_250,
        shown_item_count=4_100,
        attributed_event_count=51,
        attributed_weight=40.5,
    )
    assert (await client.end_trial()).trial is None


async def test_users_are_split_unless_told_otherwise(client, server):
    server.on("StartTrial", model_pb2.StartTrialResponse())
    await client.start_trial("second", 0.5)
    assert server.call.request == model_pb2.StartTrialRequest(name="second", share=0.5, mode=model_pb2.TRIAL_MODE_SPLIT)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.ABORTED, tanager.AbortedError),
        (grpc.StatusCode.NOT_FOUND, tanager.NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, tanager.FailedPreconditionError),
    ],
)
async def test_a_bundle_that_cannot_be_tried(client, server, code, error):
    server.fail("StartTrial", code, "what happened")
    with pytest.raises(error, match="what happened"):
        await client.start_trial("new", 0.5)
    assert len(server.calls) == 1


@pytest.mark.parametrize(("share", "mode"), [("much", "split"), (0.5, "blind")])
async def test_arguments_that_cannot_be_sent(client, server, share, mode):
    with pytest.raises((TypeError, ValueError), match=r"share|blind"):
        await client.start_trial("new", share, mode=mode)
    assert server.calls == []


async def test_answers_and_status_tell_of_it(client, server):
    served_by = common_pb2.ServedBy(variant="next")
    server.on("Recommend", recommendation_pb2.RecommendResponse(served_by=served_by))
    users = [recommendation_pb2.UserRecommendations(user_id="a", variant="control")]
    server.on("BatchRecommend", recommendation_pb2.BatchRecommendResponse(users=users))
    server.on("GetStatus", model_pb2.GetStatusResponse(trial=TRIAL))
    assert (await client.recommend(user_id="a")).variant == "next"
    assert [user.variant for user in await client.batch_recommend(["a"])] == ["control"]
    status = await client.status()
    assert status.trial is not None
    assert status.trial.control.list_count == 1_300


def lines(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def told(server, monkeypatch):
    """The command line speaks to the server."""
    monkeypatch.setenv("TANAGER_TARGET", server.target)
    return server


def test_the_command_line_tries_bundles(told, capsys):
    told.on("StartTrial", model_pb2.StartTrialResponse(trial=TRIAL))
    assert cli.main(["bundles", "try", "second", "--share", "0.25", "--shadow", "--variant", "next"]) == 0
    assert told.call.request == model_pb2.StartTrialRequest(
        name="second", share=0.25, mode=model_pb2.TRIAL_MODE_SHADOW, variant="next"
    )
    shown = lines(capsys)
    assert shown[:4] == [
        "trial next: bundle abcdef012345 for 25.0% of the users",
        "counted since 2026-01-02 03:04 UTC",
        "control 1,300 lists in 2.50 ms; 0 events of 13,000 items shown",
        "next 410 lists in 1.25 ms, 2 failed, 3 degraded, 4 short; 51 events of 4,100 items shown",
    ]
    assert shown[4].startswith("time ")


def test_the_command_line_ends_a_trial(told, capsys):
    shadow = model_pb2.Trial(variant="next", mode=model_pb2.TRIAL_MODE_SHADOW, share=1.0)
    shadow.compared_count, shadow.skipped_count, shadow.mean_overlap = 1_000, 5, 0.75
    told.on("EndTrial", model_pb2.EndTrialResponse(trial=shadow))
    assert cli.main(["bundles", "end-trial"]) == 0
    shown = lines(capsys)
    assert shown[0] == "trial next: bundle for 100.0% of the users, in the shadow"
    assert "overlap 75.0% of 1,000 lists, 5 skipped" in shown
    told.on("EndTrial", model_pb2.EndTrialResponse())
    assert cli.main(["bundles", "end-trial"]) == 0
    assert lines(capsys) == ["there was no trial"]
