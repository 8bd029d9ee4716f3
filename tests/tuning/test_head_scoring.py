"""Scores of heads: the labels and the probabilities of `/v1/classify`, and a refusal of what gives no label."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from prompts_store.checkpoint_records import Checkpoint, PeftType
from prompts_store.manifest import Pooling, ProblemType
from server.engine.events import Encoded
from server.engine.request import Encode
from server.model.heads.pooling import PoolingHead
from server.tuning.candidate import Candidate
from server.tuning.errors import EvaluationFailed
from server.tuning.evaluation import evaluate
from server.tuning.examples import read_examples
from server.tuning.heads import build_heads
from tests.fakes.tokenizers import byte_level
from tests.tuning.tiny import MANIFEST, jsonl, tiny_base

EXAMPLES = read_examples(
    jsonl({"text": "a", "label": "yes"}, {"text": "b", "label": "yes"}, {"text": "c", "label": "no"})
).examples
HEAD = PoolingHead(Pooling.LAST)


class HeadEngine:
    """An engine whose heads give the same numbers for every text. The first ask is of the first member."""

    max_context = 64

    def __init__(self, *outputs: list[float]) -> None:
        self._outputs = outputs
        self._num_asked = 0

    async def stream(self, request):
        assert isinstance(request.kind, Encode)
        index = self._num_asked % len(self._outputs)
        self._num_asked += 1
        yield Encoded(np.array([self._outputs[index]], dtype=np.float32), 0)


async def scores_of(*outputs: list[float], **changes):
    """Scores of a candidate with a head per row of outputs."""
    count = len(outputs)
    manifest = replace(MANIFEST, **changes.pop("manifest", {}))
    candidate = Candidate("mood@1", "mood", (None,) * count, manifest, (HEAD,) * count, **changes)
    return await evaluate(
        HeadEngine(*outputs), byte_level(), candidate, EXAMPLES, end_token_id=None, labels=("yes", "no"), max_at_once=1
    )


@pytest.mark.parametrize(
    ("of_version", "of_base", "expected"),
    [
        (("no", "yes"), (), 2 / 3),
        ((), ("no", "yes"), 2 / 3),
        (("no", "yes"), ("yes", "no"), 2 / 3),
        ((), ("yes", "no"), 1 / 3),
        ((), (), 0),
        ((), ("yes", "no", "perhaps"), 0),
    ],
)
async def test_outputs_have_the_labels_that_serving_gives_them(of_version, of_base, expected):
    """The version's, else the base model's if it has as many, else placeholders; never the order of the examples."""
    scores = await scores_of([-1.0, 1.0], manifest={"labels": of_version}, base_labels=of_base)
    assert scores.exact_match == scores.label_accuracy == pytest.approx(expected)


async def test_an_ensemble_has_the_mean_of_the_probabilities():
    """0.9 and 0.4 of "yes" are 0.65."""
    outputs = [[math.log(p), math.log(1 - p)] for p in (0.9, 0.4)]
    scores = await scores_of(*outputs, manifest={"labels": ("yes", "no")})
    expected = math.exp(-(2 * math.log(0.65) + math.log(0.35)) / 3)
    assert scores.perplexity == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("place", ["manifest", "base"])
async def test_labels_of_their_own_probability_are_scored_so(place):
    """Sigmoids, where the version or the base model says so."""
    multi = ProblemType.MULTI_LABEL
    more = {"base_problem_type": multi} if place == "base" else {}
    manifest = {"labels": ("yes", "no"), **({"problem_type": multi} if place == "manifest" else {})}
    scores = await scores_of([2.0, 1.0], manifest=manifest, **more)
    yes, no = (math.log(1 / (1 + math.exp(-logit))) for logit in (2.0, 1.0))
    assert scores.perplexity == pytest.approx(math.exp(-(2 * yes + no) / 3), rel=1e-5)


async def test_a_head_of_numbers_is_refused():
    """A regression has no label."""
    with pytest.raises(EvaluationFailed, match="mood@1 answers with numbers, and examples name labels"):
        await scores_of([0.5])


@pytest.mark.parametrize("task_type", ["TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"])
def test_a_head_that_labels_no_text_is_refused(task_type):
    """Its first number would be no answer to an example."""
    checkpoint = Checkpoint(PeftType.PROMPT_TUNING, 4, {"task_type": task_type}, ())
    with pytest.raises(EvaluationFailed, match=f"names@2 is for {task_type}, and examples have texts"):
        build_heads(tiny_base(), "names@2", [checkpoint], MANIFEST)
