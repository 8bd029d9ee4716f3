"""What a step reads of its logits: finite or not, tokens and log-probabilities, all in one transfer."""

from __future__ import annotations

import pytest
import torch

from server.model.sampling.readout import Scoring, Wanted, read
from tests.devices import DEVICE
from tests.model.row_by_row import row

pytestmark = pytest.mark.usefixtures("tensors_on_device")
LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0]
RAW = torch.tensor(LOGITS).log_softmax(-1).tolist()


def read_one(logits, **wanted):
    """The answer to one chunk that has all rows."""
    (readout,) = read(torch.tensor(logits), [Wanted(range(len(logits)), **wanted)])
    return readout


# --- log-probabilities ------------------------------------------------------------------------------------------------


def test_log_probabilities_are_of_the_raw_distribution():
    """Whatever the parameters made of it."""
    changes = {"temperature": 0.3, "top_k": 1, "logit_bias": ((4, 100.0),), "forbidden": frozenset({0})}
    (result,) = read_one([LOGITS], samplings=[row(num_logprobs=2, **changes)]).sampled
    assert result.token_id == 4
    assert result.logprobs is not None
    assert result.logprobs.logprob == pytest.approx(RAW[4])
    assert [token for token, _ in result.logprobs.top] == [0, 1]
    assert [value for _, value in result.logprobs.top] == pytest.approx(RAW[:2])


@pytest.mark.parametrize(("wanted", "given"), [(0, 0), (3, 3), (6, 6), (50, 6)])
def test_as_many_of_the_most_likely_as_there_are(wanted, given):
    (result,) = read_one([LOGITS], scoring=Scoring(range(1), [2], wanted)).scores
    assert len(result.top) == given


def test_log_probabilities_come_only_where_asked():
    samplings = [row(), row(num_logprobs=0), row(num_logprobs=1), row()]
    sampled = read_one([LOGITS], samplings=samplings).sampled
    assert [None if one.logprobs is None else len(one.logprobs.top) for one in sampled] == [None, 0, 1, None]


def test_each_row_scores_its_own_token():
    scores = read_one([LOGITS, LOGITS[::-1]], scoring=Scoring(range(2), [1, 2], 0)).scores
    assert [one.logprob for one in scores] == pytest.approx([RAW[1], RAW[3]])


def test_rows_of_a_large_vocabulary_are_scored_in_parts():
    """More numbers than are summed at once."""
    logits = torch.randn(4, 40_000, generator=torch.Generator(DEVICE).manual_seed(1))
    (readout,) = read(logits, [Wanted(range(4), scoring=Scoring(range(1, 4), [5, 39_999, 0], 2))])
    raw = logits.log_softmax(-1)
    assert [one.logprob for one in readout.scores] == [float(raw[1, 5]), float(raw[2, 39_999]), float(raw[3, 0])]
    assert [one.top for one in readout.scores] == [
        tuple(zip(ids, values, strict=True))
        for values, ids in zip(*(part.tolist() for part in raw[1:].topk(2, dim=-1)), strict=True)
    ]


def test_one_row_scores_any_number_of_tokens():
    scores = read_one([LOGITS[::-1], LOGITS], scoring=Scoring(range(1, 2), [1, 2, 5], 1)).scores
    assert [one.logprob for one in scores] == pytest.approx([RAW[1], RAW[2], RAW[5]])
    assert {one.top[0][0] for one in scores} == {0}


# --- numbers that are none --------------------------------------------------------------------------------------------


def test_chunks_with_rows_that_cannot_be_sampled_from_are_named():
    nan, infinity = float("nan"), float("inf")
    rows = [[0.0, 1.0], [nan, 1.0], [1.0, infinity], [-infinity, 1.0], [-infinity, -infinity]]
    one_each = read(torch.tensor(rows), [Wanted(range(index, index + 1)) for index in range(5)])
    assert [readout.is_finite for readout in one_each] == [True, False, False, True, False]
    joined = read(torch.tensor(rows), [Wanted(range(2)), Wanted(range(2, 3)), Wanted(range(3, 4)), Wanted(range(4, 5))])
    assert [readout.is_finite for readout in joined] == [False, False, True, False]


# --- many chunks at once ----------------------------------------------------------------------------------------------


def test_every_chunk_gets_what_it_gets_alone():
    """Greedy and drawn, with and without log-probabilities, given tokens and continuations, side by side."""
    logits = torch.randn(12, 50, generator=torch.Generator(DEVICE).manual_seed(3)) * 3
    wanted = [
        Wanted(range(2), [row(row=1, temperature=0.0, num_logprobs=3)], Scoring(range(1), [7], 2)),
        Wanted(range(2, 3), [row(row=2, seed=seed, top_p=0.9, num_logprobs=seed or None) for seed in range(3)]),
        Wanted(range(3, 7), scoring=Scoring(range(4, 7), [1, 2, 3], 0)),
        Wanted(range(7, 8), scoring=Scoring(range(7, 8), [4, 5, 6, 7], 0)),
        Wanted(range(8, 12)),
    ]
    assert read(logits, wanted) == [read(logits, [one])[0] for one in wanted]


def test_a_step_is_fetched_in_one_transfer(monkeypatch):
    """Whatever it asks for. On a GPU each transfer is a wait for the device."""
    fetched = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: fetched.append(tensor) or tensor.to("cpu"))
    for name in ("item", "tolist", "__bool__", "__int__", "__float__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"a step calls {name}"))
    read(
        torch.zeros(3, 6),
        [
            Wanted(range(1), [row(row=0, num_logprobs=2, top_p=0.5, top_k=3, min_p=0.1)], Scoring(range(1), [3], 1)),
            Wanted(range(1, 2), [row(row=1, temperature=0.0, repetition_penalty=1.2, output=(1,), prompt=(2,))]),
            Wanted(range(2, 3), [row(row=2, frequency_penalty=0.2, output=(1, 1), logit_bias=((3, 1.0),))]),
        ],
    )
    assert len(fetched) == 1
