"""From a bundle's directory to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.bundle import open_bundle
from tanager_server.engine.engine import Engine
from tanager_server.engine.exploration import OFF, ExplorationPolicy
from tanager_server.index import Generation
from tanager_server.runtime import CostModel, Encoder, SequenceHead, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from tanager_server.bundle import Bundle
    from tanager_server.engine.known import KnownUsers
    from tanager_server.runtime import BatchPolicy, Calibration
    from tanager_server.runtime.text_encoder import TextObserver
    from tanager_server.settings import Device
    from tanager_server.state.trends import Trends


class Tried(NamedTuple):
    """A bundle that is verified, and whose encoder works.

    Attributes:
        bundle: what was verified.
        encoder: whose vectors are those of its export.
        probe_cosine: the smallest of the probe.
    """

    bundle: Bundle
    encoder: Encoder
    probe_cosine: float


class Opened(NamedTuple):
    """A bundle that is verified, tried and read.

    Attributes:
        generation: what is recommended.
        encoder: whose vectors are those of its export.
        sequence: reads histories, where the bundle has a sequence head.
        probe_cosine: the smallest of the probe.
    """

    generation: Generation
    encoder: Encoder
    sequence: SequenceHead | None
    probe_cosine: float


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens bundles, all to be run alike.

    Attributes:
        device: where encoders run.
        calibration: how, as it was measured when the server started.
        policy: bounds of batches.
        cache_bytes: for encoded texts.
        observe: told of batches and of the cache.
        exploration: how much of lists is given by lot.
    """

    device: Device
    calibration: Calibration
    policy: BatchPolicy
    cache_bytes: int
    observe: TextObserver | None
    exploration: ExplorationPolicy = OFF

    def try_out(self, path: Path) -> Tried:
        """Verifies a bundle and runs its probe; takes long, in native code for the most, in any thread.

        Raises:
            BundleError: it is not whole, or not fit for this machine; the file is named.
            StartupError: its encoder cannot be run as the settings want it.
        """
        bundle = open_bundle(path)
        encoder = Encoder.from_bundle(bundle, device=self.device, threads=self.calibration.threads)
        probe_cosine = encoder.check_probe(bundle.read_probe())
        encoder.warm(max_batch_tokens=self.policy.max_batch_tokens, max_batch_size=self.policy.max_batch_size)
        return Tried(bundle, encoder, probe_cosine)

    def read(self, tried: Tried) -> Opened:
        """Reads the rest of a bundle; takes long, in Python for the most, in any thread.

        Raises:
            BundleError: its files do not fit one another; the file is named.
        """
        bundle = tried.bundle
        return Opened(Generation.load(bundle), tried.encoder, SequenceHead.from_bundle(bundle), tried.probe_cosine)

    def engine(self, opened: Opened, *, known: KnownUsers, trends: Trends) -> Engine:
        """The engine of an open bundle; takes time that grows with the catalogue, in any thread."""
        texts = TextEncoder(
            opened.encoder,
            policy=self.policy,
            retrieve=opened.generation.index.search,
            cost=CostModel(self.calibration.samples),
            workers=self.calibration.workers,
            cache_bytes=self.cache_bytes,
            observe=self.observe,
        )
        return Engine(opened.generation, texts, opened.sequence, known, trends, self.exploration)
