"""`tanager bundles` and what `tanager status` tells of the state."""

import json

import grpc

from tanager.v1 import model_pb2

BUNDLE = model_pb2.Bundle(
    bundle_id="0123456789abcdef", model_name="MiniLM", precision="int8", item_count=1400, dim=384, max_tokens=128
)
BUNDLE.create_time.FromJsonString("2026-01-02T03:04:05Z")


def test_list(server, run):
    found = [
        model_pb2.AvailableBundle(name="2026-01", bundle=BUNDLE, active=True),
        model_pb2.AvailableBundle(name="broken", problem="manifest.json is\nmissing"),
    ]
    server.on("ListBundles", model_pb2.ListBundlesResponse(bundles=found))
    assert run("bundles", "list") == [
        "   name     exported          items  precision  model   bundle",
        "*  2026-01  2026-01-02 03:04  1,400  int8       MiniLM  0123456789ab",
        "   broken   -                     -  -          -       -",
        "",
        "broken cannot be served: manifest.json is missing",
    ]
    answer = json.loads("\n".join(run("bundles", "list", "--format", "json")))
    assert [each["name"] for each in answer["bundles"]] == ["2026-01", "broken"]
    assert answer["bundles"][0]["bundle"]["create_time"] == "2026-01-02T03:04:05+00:00"


def test_no_bundles(server, run):
    server.on("ListBundles", model_pb2.ListBundlesResponse())
    assert run("bundles", "list") == ["no bundles"]


def test_activate_takes_its_time(server, run):
    server.on("ActivateBundle", model_pb2.ActivateBundleResponse(bundle=BUNDLE, encoded_count=12))
    lines = run("bundles", "activate", "2026-01")
    assert server.call.request == model_pb2.ActivateBundleRequest(name="2026-01")
    assert server.call.time_remaining_s > 300
    assert lines[0] == "bundle     0123456789abcdef, exported 2026-01-02 03:04 UTC"
    assert "encoded    12 live items" in lines


def test_rollback(server, run):
    server.on("RollbackBundle", model_pb2.RollbackBundleResponse(bundle=BUNDLE))
    answer = json.loads("\n".join(run("bundles", "rollback", "--format", "json", "--timeout", "20")))
    assert answer["bundle"]["bundle_id"] == "0123456789abcdef"
    assert server.call.time_remaining_s < 30


def test_what_cannot_be_activated(server, failing):
    server.fail("ActivateBundle", grpc.StatusCode.NOT_FOUND, "no bundle 'x'")
    status, said = failing("bundles", "activate", "x")
    assert status == 1
    assert said.startswith("no bundle 'x' (request ")
    assert failing("bundles", "activate", "\udce9")[1].startswith("NAME: name has no UTF-8 form")


def test_status_tells_of_the_state(server, run):
    state = model_pb2.State(
        consistency_token="t9", item_count=1500, user_count=20, event_count=3000, unindexed_item_count=100
    )
    server.on("GetStatus", model_pb2.GetStatusResponse(bundle=BUNDLE, state=state))
    lines = [" ".join(line.split()) for line in run("status")]
    assert "live 1,500 items, 100 of them not in the index yet" in lines
    assert "users 20 with 3,000 events" in lines
    assert "token t9" in lines


def test_status_of_a_server_without_a_state(server, run):
    server.on("GetStatus", model_pb2.GetStatusResponse(bundle=BUNDLE))
    assert "state none kept" in [" ".join(line.split()) for line in run("status")]
