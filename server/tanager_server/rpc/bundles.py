"""Bundles as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from tanager_server.bundle import Manifest
    from tanager_server.engine import Engine


def served_bundle(engine: Engine) -> model_pb2.Bundle:
    """What a bundle that is loaded says of itself."""
    bundle = bundle_message(engine.generation.manifest)
    bundle.domain_item_counts.update(engine.generation.catalogue.domain_counts)
    return bundle


def bundle_message(manifest: Manifest) -> model_pb2.Bundle:
    """What a manifest says."""
    created = Timestamp()
    created.FromDatetime(manifest.created_at)
    return model_pb2.Bundle(
        bundle_id=manifest.bundle_id,
        create_time=created,
        model_name=manifest.model.name,
        precision=manifest.encoder.precision,
        dim=manifest.encoder.dim,
        max_tokens=manifest.encoder.max_tokens,
        dataset_name=manifest.dataset.name,
        simulated_behaviour=manifest.dataset.simulated_behaviour,
        item_count=manifest.dataset.items,
        quality=manifest.quality,
    )
