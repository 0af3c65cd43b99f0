"""`tanager backups`."""

import json

import grpc

from tanager.v1 import model_pb2


def test_create(server, run):
    server.on("BackUpState", model_pb2.BackUpStateResponse(size_bytes=12_345_678))
    lines = run("backups", "create", "monday")
    assert server.call.request == model_pb2.BackUpStateRequest(name="monday")
    assert server.call.time_remaining_s > 300
    assert lines[:2] == ["backup  monday", "size    12.3 MB"]
    assert json.loads("\n".join(run("backups", "create", "monday", "--format", "json"))) == {
        "name": "monday",
        "size_bytes": 12_345_678,
    }


def test_what_cannot_be_made(server, failing):
    server.fail("BackUpState", grpc.StatusCode.FAILED_PRECONDITION, "there is a backup 'monday'")
    status, said = failing("backups", "create", "monday", "--timeout", "20")
    assert status == 1
    assert said.startswith("there is a backup 'monday' (request ")
    assert server.call.time_remaining_s < 30
    assert failing("backups", "create", "\udce9")[1].startswith("NAME: name has no UTF-8 form")
