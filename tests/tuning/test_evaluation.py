"""Scores are of what would be served: the engine is asked, with the version's template, defaults and stop strings."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest

from prompts_store.manifest import Manifest
from server.engine.errors import EngineOverloaded, EngineStopped, NumbersOverflow, PrefixTooLarge, StepFailed
from server.engine.request import Generate, Score
from server.tokenizer.tokenizer import Tokenizer
from server.tuning.candidate import Candidate, base_alone, with_instruction
from server.tuning.encoding import encode_completion
from server.tuning.errors import EvaluationFailed, ExamplesRefused
from server.tuning.evaluation import Patience, evaluate
from server.tuning.examples import read_examples
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import FAMILIES, byte_level, sentencepiece
from tests.tuning.tiny import MANIFEST, jsonl

TOKENIZER = byte_level()
END = TOKENIZER.eos_token_id or 0
EXAMPLES = read_examples(
    jsonl({"text": "a", "label": "yes"}, {"text": "b", "label": "yes"}, {"text": "c", "label": "no"})
).examples


def engine_that_says(text: str) -> ScriptedEngine:
    ids = (*TOKENIZER.encode(text), END)
    return ScriptedEngine(lambda request, choice: ids, frozenset({END}))


async def scores_of(engine: ScriptedEngine, candidate: Candidate, **more):
    return await evaluate(engine, TOKENIZER, candidate, EXAMPLES, end_token_id=END, **more)


async def test_exact_match_is_of_the_text_to_the_letter():
    """Two of three examples expect what is said; another case of the letters is no match."""
    assert (await scores_of(engine_that_says("yes"), base_alone(MANIFEST))).exact_match == pytest.approx(2 / 3)
    assert (await scores_of(engine_that_says("Yes"), base_alone(MANIFEST))).exact_match == 0


async def test_labels_are_chosen_as_classification_chooses_them():
    """The most likely whole label wins; macro F1 counts the label that is never found as nothing."""
    engine = engine_that_says("yes")
    engine.score = lambda request, continuation: 0.0 if TOKENIZER.decode(continuation[:-1]) == "yes" else -1.0
    scores = await scores_of(engine, base_alone(MANIFEST), labels=("yes", "no"))
    assert scores.label_accuracy == pytest.approx(2 / 3)
    assert scores.macro_f1 == pytest.approx((0.8 + 0.0) / 2)


async def test_perplexity_is_a_tokens_and_counts_the_end():
    """A score of -1 a token, the end token included, is a perplexity of e."""
    scores = await scores_of(engine_that_says("yes"), base_alone(MANIFEST))
    assert scores.perplexity == pytest.approx(math.e)


async def test_without_labels_there_is_no_label_accuracy():
    """Nothing is made up where there is nothing to choose from."""
    scores = await scores_of(engine_that_says("yes"), base_alone(MANIFEST))
    assert scores.label_accuracy is None
    assert scores.macro_f1 is None


async def test_requests_are_those_that_serving_would_make():
    """Template, special tokens, the version's own defaults and a greedy choice."""
    engine = engine_that_says("yes")
    manifest = Manifest(template="<{input}>", defaults={"max_tokens": 7, "temperature": 0.9, "top_k": 3}, stop=("e",))
    scores = await scores_of(engine, Candidate("mood@1", "mood", (None,), manifest))
    generated = [request for request in engine.requests if isinstance(request.kind, Generate)]
    samplings = [request.kind.sampling for request in generated]
    assert {TOKENIZER.decode(request.prompt_token_ids) for request in generated} == {"<a>", "<b>", "<c>"}
    assert {(one.max_tokens, one.temperature, one.top_k) for one in samplings} == {(7, 0, 3)}
    assert {request.task for request in engine.requests} == {"mood"}
    assert scores.exact_match == 0, "the stop string cuts the answer short, as it would in serving"


async def test_an_ensemble_votes_and_is_asked_by_each_member():
    """Three members that say the same score as one does, with three times the requests."""
    engine, alone = engine_that_says("yes"), engine_that_says("yes")
    expected = await scores_of(alone, Candidate("mood@4", "mood", (None,), MANIFEST), labels=("yes", "no"))
    assert await scores_of(engine, Candidate("mood@4", "mood", (None,) * 3, MANIFEST), labels=("yes", "no")) == expected
    assert len(engine.requests) == 3 * len(alone.requests)


async def test_an_instruction_stands_before_the_template():
    """The baseline told in words differs from the base by the instruction alone."""
    engine = engine_that_says("yes")
    await scores_of(engine, with_instruction(MANIFEST, "Vowel?"))
    scored = [request for request in engine.requests if isinstance(request.kind, Score)]
    assert TOKENIZER.decode(scored[0].prompt_token_ids) == "Vowel? a ->\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StepFailed("secret"), "engine_failed", "the engine failed while base was evaluated"),
        (NumbersOverflow("the numbers overflow"), "numbers_overflow", "base: the numbers overflow"),
        (PrefixTooLarge("it needs 9 blocks"), "request_refused", "base cannot be served: it needs 9 blocks"),
    ],
)
async def test_a_failure_of_the_engine_is_told_in_our_words_and_nothing_runs_on(error, code, said):
    """One failed request ends the evaluation; what the engine says for callers is passed on, nothing else is."""
    engine = engine_that_says("yes")
    engine.fail_after, engine.cause = 0, error
    with pytest.raises(EvaluationFailed) as caught:
        await scores_of(engine, base_alone(MANIFEST), patience=Patience(pause_s=0.0))
    assert (caught.value.code, str(caught.value)) == (code, said)
    assert caught.value.__cause__ is error
    assert not engine.unfinished


async def test_an_engine_that_is_gone_says_nothing_of_the_candidate():
    """It passes through: another server may evaluate."""
    engine = engine_that_says("yes")
    engine.refuse = EngineStopped("gone")
    with pytest.raises(EngineStopped):
        await scores_of(engine, base_alone(MANIFEST))


TEXTS = ("positive", "negative", "yes")


def engine_that_answers_as_taught(tokenizer: Tokenizer, completion: str) -> ScriptedEngine:
    """Generates the very tokens that a run teaches."""
    end = tokenizer.eos_token_id or 0
    ids = encode_completion(tokenizer, completion, end)
    return ScriptedEngine(lambda request, choice: ids, frozenset({end}))


async def exact_match(tokenizer: Tokenizer, completion: str, manifest: Manifest, *, says: str | None = None) -> float:
    examples = read_examples(jsonl({"prompt": "a", "completion": completion})).examples
    engine = engine_that_answers_as_taught(tokenizer, completion if says is None else says)
    end = tokenizer.eos_token_id or 0
    return (await evaluate(engine, tokenizer, base_alone(manifest), examples, end_token_id=end)).exact_match


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", [" {input} ->\n", "{input}", None])
@pytest.mark.parametrize("completion", TEXTS)
async def test_the_tokens_that_are_taught_are_an_exact_match(family, template, completion):
    """Whatever the tokenizer puts before a text, and whether or not the answer goes on with the prompt."""
    assert await exact_match(FAMILIES[family], completion, Manifest(template=template)) == 1
    assert await exact_match(FAMILIES[family], completion, Manifest(template=template), says="no") == 0


@pytest.mark.parametrize("family", ["byte_level", "sentencepiece", "metaspace_never"])
@pytest.mark.parametrize("completion", [" positive", "  yes", "1976-07-04", "你好", "😀", "\nno", "yes  no"])
async def test_answers_of_other_shapes_match_too(family, completion):
    """Leading spaces, digits, characters of several tokens, lines."""
    assert await exact_match(FAMILIES[family], completion, MANIFEST) == 1


async def test_messages_are_answered_with_a_text_of_its_own():
    """Without a template too."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "positive"}]}
    tokenizer = FAMILIES["sentencepiece"]
    end = tokenizer.eos_token_id or 0
    engine, examples = engine_that_answers_as_taught(tokenizer, "positive"), read_examples(jsonl(row)).examples
    scores = await evaluate(engine, tokenizer, base_alone(Manifest()), examples, end_token_id=end)
    assert scores.exact_match == 1


@pytest.mark.parametrize("template", ["{input}", None])
async def test_an_answer_that_does_not_survive_its_tokens_never_matches(template):
    """A score must not be had for another text than the file has, though the tokens are those that were taught."""
    assert await exact_match(FAMILIES["wordpiece"], "Positive", Manifest(template=template)) == 0


async def test_what_has_no_row_in_the_base_model_is_refused_with_its_line():
    """In an input, in an answer, in a label; nothing reaches the engine."""
    tokenizer = sentencepiece(lacks_rows=True)
    engine = engine_that_answers_as_taught(tokenizer, "a")
    for row in ({"prompt": "[PAD]", "completion": "a"}, {"prompt": "a", "completion": "a [PAD]"}):
        with pytest.raises(ExamplesRefused, match="line 1: the text holds token id") as caught:
            examples = read_examples(jsonl(row)).examples
            await evaluate(engine, tokenizer, base_alone(MANIFEST), examples, end_token_id=2)
        assert caught.value.code == "token_out_of_range"
    with pytest.raises(EvaluationFailed, match="the labels cannot be scored"):
        await evaluate(engine, tokenizer, base_alone(MANIFEST), EXAMPLES, end_token_id=2, labels=("yes", "[PAD]"))
    assert not engine.requests


class FailsSometimes(ScriptedEngine):
    """The first requests fail by turns for a batch mate and for want of room."""

    troubles: ClassVar = [StepFailed("another one's fault"), EngineOverloaded("full")] * 3

    def stream(self, request):
        trouble = self.troubles.pop() if self.troubles else None
        self.cause = trouble
        self.fail_after = 0 if isinstance(trouble, StepFailed) else None
        self.refuse = trouble if isinstance(trouble, EngineOverloaded) else None
        return super().stream(request)


async def test_an_example_is_asked_again_where_the_failure_may_not_be_its_own():
    """What has been answered is not asked for again."""
    steady = engine_that_says("yes")
    shaky = FailsSometimes(steady.script, steady.eos_token_ids)
    patience = Patience(max_failures=9, max_refusals=9, pause_s=0.0)
    expected = await scores_of(steady, base_alone(MANIFEST))
    assert await scores_of(shaky, base_alone(MANIFEST), patience=patience, max_at_once=1) == expected
    assert not shaky.troubles
    assert len(shaky.requests) == len(steady.requests) + 3


async def test_who_waits_for_an_engine_that_is_full_can_be_called_off():
    """A job that is cancelled meanwhile does not wait to the end."""
    engine = engine_that_says("yes")
    engine.refuse = EngineOverloaded("full")

    def call_off(num_done: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await scores_of(engine, base_alone(MANIFEST), on_progress=call_off)


async def test_an_engine_that_stays_full_is_not_asked_for_ever():
    """The evaluation fails, in words that do not blame the candidate."""
    engine = engine_that_says("yes")
    engine.refuse = EngineOverloaded("full")
    with pytest.raises(EvaluationFailed, match="the server was too busy to evaluate base") as caught:
        await scores_of(engine, base_alone(MANIFEST), patience=Patience(max_refusals=3, pause_s=0.0))
    assert caught.value.code == "engine_overloaded"
