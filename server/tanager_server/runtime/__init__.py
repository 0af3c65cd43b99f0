"""Text to vectors: the dynamic batcher, the ONNX encoder, and the two joined."""

from tanager_server.runtime.batcher import Batcher, Encoded
from tanager_server.runtime.encoder import Encoder, Tokens
from tanager_server.runtime.text_encoder import EncodedTexts, TextEncoder

__all__ = ["Batcher", "Encoded", "EncodedTexts", "Encoder", "TextEncoder", "Tokens"]
