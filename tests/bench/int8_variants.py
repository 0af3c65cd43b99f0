"""Ways to quantise the encoder to int8, beside each other: likeness to fp32, speed, dependence on the batch.

python -m tests.bench.int8_variants DATASET [--model DIR_OR_HUB_ID] [--texts 3000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnxruntime.quantization import QuantType, quantize_dynamic

from tanager_export.dataset import load_dataset
from tanager_export.model import find_model
from tanager_export.onnx_model import export_onnx
from tanager_export.quality import Parity
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

REPETITIONS = 3
BATCH = 32
VARIANTS: dict[str, dict[str, bool]] = {
    "one scale a matrix": {"per_channel": False},
    "one scale an output channel": {"per_channel": True},
    "the same, reduce_range": {"per_channel": True, "reduce_range": True},
}


def batch_cosine(encoder: Encoder, texts: Sequence[str]) -> float:
    """Mean cosine of a text's vector alone with its vector in a random batch."""
    tokens = encoder.tokenize(texts[: 8 * BATCH])
    order = np.random.default_rng(0).permutation(len(tokens))
    cosines = []
    for start in range(0, len(order), BATCH):
        chosen = [tokens[i] for i in order[start : start + BATCH]]
        alone = np.vstack([encoder.encode([text]) for text in chosen])
        cosines += np.einsum("td,td->t", alone, encoder.encode(chosen)).tolist()
    return statistics.fmean(cosines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", help="left out: the default MiniLM")
    parser.add_argument("--texts", type=int, default=3000, help="texts compared, from the first")
    arguments = parser.parse_args()
    texts = [item.encoder_text for item in load_dataset(arguments.dataset).items[: arguments.texts]]
    source = find_model(arguments.model)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        export_onnx(source, source.load(), directory)
        fp32 = directory / "encoder.onnx"
        paths = {"fp32": fp32}
        for number, (name, options) in enumerate(VARIANTS.items()):
            paths[name] = directory / f"{number}.onnx"
            quantize_dynamic(fp32, paths[name], weight_type=QuantType.QInt8, **options)
        encoders = {
            name: Encoder(model_path=path, tokenizer_path=directory / "tokenizer.json", max_tokens=256)
            for name, path in paths.items()
        }
        rates: dict[str, list[float]] = {name: [] for name in encoders}
        vectors = {}
        for _ in range(REPETITIONS):  # in turn: other work on the machine hits all alike
            for name, encoder in encoders.items():
                began = time.perf_counter()
                vectors[name] = encoder.encode_texts(texts)
                rates[name].append(len(texts) / (time.perf_counter() - began))
        print(f"{len(texts)} texts; texts/s is the median of {REPETITIONS}")
        print(f"{'':<28} {'texts/s':>8} {'cosine mean':>12} {'least':>7} {'top-10':>7} {'alone/batch':>12} {'MB':>5}")
        for name, encoder in encoders.items():
            parity = Parity.measure(vectors["fp32"], vectors[name])
            print(
                f"{name:<28} {statistics.median(rates[name]):>8.0f} {parity.cosine_mean:>12.4f} "
                f"{parity.cosine_min:>7.4f} {parity.top10_overlap:>7.3f} {batch_cosine(encoder, texts):>12.4f} "
                f"{paths[name].stat().st_size / 1e6:>5.0f}"
            )


if __name__ == "__main__":
    main()
