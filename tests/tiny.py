"""A tiny language model, a dataset, and bundles made of them by the real pipeline: quick to start and to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from tanager_server.bundle.manifest import Precision

DOMAINS = ("book", "film")
TOPICS = ("space", "love", "war", "music", "nature")


def make_model(directory: Path) -> None:
    """A BERT of two layers with random weights, in the layout of transformers: quick to export, real to ONNX."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *TOPICS, *DOMAINS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(directory)


def make_dataset(directory: Path) -> None:
    """120 items over two domains and five topics; 40 users, each of whom likes one topic in both domains."""
    from tanager_export.dataset import Dataset, Interactions, Item, write_dataset

    items = tuple(
        Item(
            id=f"{domain}-{topic}-{number}",
            title=f"{topic.title()} {domain} {number}",
            text=f"{topic} {domain} {topic} {number}",
            domain=domain,
            categories=(topic,),
            attributes={"year": 1990 + number},
        )
        for domain in DOMAINS
        for topic in TOPICS
        for number in range(12)
    )
    random = np.random.default_rng(0)
    users, taken = [], []
    for user in range(40):
        liked = [i for i, item in enumerate(items) if item.categories == (TOPICS[user % len(TOPICS)],)]
        chosen = random.choice(liked, size=8, replace=False)
        users += [user] * len(chosen)
        taken += chosen.tolist()
    interactions = Interactions(
        user=np.asarray(users, dtype=np.int32),
        item=np.asarray(taken, dtype=np.int32),
        timestamp=np.arange(len(users), dtype=np.int64) + 1_700_000_000,
        weight=np.ones(len(users), dtype=np.float32),
        user_ids=tuple(f"user-{user}" for user in range(40)),
    )
    write_dataset(
        Dataset(
            name="tiny",
            description="",
            source="",
            licence="",
            simulated_behaviour=True,
            items=items,
            interactions=interactions,
            users=(),
        ),
        directory,
    )


def make_bundle(model: Path, dataset: Path, target: Path, *, precision: Precision = "fp32") -> None:
    """The two, exported."""
    from tanager_export.bundle import BundleOptions, build_bundle
    from tanager_export.dataset import load_dataset
    from tanager_export.model import find_model

    build_bundle(find_model(str(model)), load_dataset(dataset), target, options=BundleOptions(precision=precision))
