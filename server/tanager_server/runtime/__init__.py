"""Text to vectors: queue, batcher, cache, and the ONNX encoder; joined in `TextEncoder`. And the sequence head."""

from tanager_server.runtime.batcher import Batcher
from tanager_server.runtime.calibration import Calibration, batch_policy, calibrate
from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.encoder import Encoder, Tokens
from tanager_server.runtime.job import BatchPolicy
from tanager_server.runtime.sequence import SequenceHead
from tanager_server.runtime.text_encoder import EncodedTexts, EncodedWish, TextEncoder

__all__ = [
    "BatchPolicy",
    "Batcher",
    "Calibration",
    "CostModel",
    "EncodedTexts",
    "EncodedWish",
    "Encoder",
    "SequenceHead",
    "TextEncoder",
    "Tokens",
    "batch_policy",
    "calibrate",
]
