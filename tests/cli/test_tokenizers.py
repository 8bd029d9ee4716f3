"""`softprompt tune` and `softprompt evaluate` on a base whose tokenizer puts a space before a text, and knows tokens
that the base has no rows for."""

from __future__ import annotations

import json

import pytest

from tests.fakes.tokenizers import sentencepiece
from tests.tuning.tiny import tiny_model

QUICK = ("--steps", 40, "--batch-size", 8, "--learning-rate", 0.3)


@pytest.fixture
def tune(softprompt, data_dir, tmp_path):
    """Run `tune` or `evaluate` on examples whose input and answer are given; the exit code and both outputs."""
    base, tokenizer = tmp_path / "base", sentencepiece(lacks_rows=True)
    tiny_model(tokenizer.num_ids).model.save_pretrained(str(base))
    tokenizer._pretrained.save_pretrained(str(base))
    place = ("--base-model", base, "--data-dir", data_dir)

    def run(*command, text="a", answer="yes"):
        rows = [{"prompt": f"{text} {number}", "completion": answer} for number in range(30)]
        file = tmp_path / "examples.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return softprompt(*(file if one == "FILE" else one for one in command), *place)

    return run


def test_a_perfect_soft_prompt_opens_its_gate_and_scores_the_same_again(tune):
    """Taught, served and scored is the very same text."""
    code, out, err = tune("tune", "mood", "--train", "FILE", "--min-score", 1, "--json", *QUICK)
    assert code == 0, err
    assert json.loads(out)["promoted"], out
    code, out, err = tune("evaluate", "mood", "FILE", "--no-base", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["exact_match"] == 1


@pytest.mark.parametrize("more", [QUICK, ("--preview", 1)])
@pytest.mark.parametrize("where", ["text", "answer"])
def test_a_token_without_a_row_is_one_line(tune, more, where):
    """Which line of the file, and what to do."""
    code, out, err = tune("tune", "mood", "--train", "FILE", *more, **{where: "a [PAD]"})
    assert (code, out) == (1, "")
    assert "line 1: the text holds token id" in err
    assert "leave that token out" in err


def test_a_text_to_begin_with_has_rows_too(tune):
    code, _, err = tune("tune", "mood", "--train", "FILE", "--init-text", "[PAD]", *QUICK)
    assert code == 1
    assert "init_text cannot be begun with" in err


def test_an_answer_that_comes_back_otherwise_is_told_in_the_preview(tune):
    code, out, err = tune("tune", "mood", "--train", "FILE", "--preview", 1, answer="yes</s>")
    assert (code, "learnt" in out) == (0, True)
    assert "line 1 has 'yes</s>', and 'yes' is what is learnt and answered" in err


def test_a_base_whose_end_token_has_no_row_cannot_learn_where_to_stop(tune, tmp_path):
    """An end token that the base cannot write is none."""
    path = tmp_path / "base" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "[PAD]"}))
    code, _, err = tune("tune", "mood", "--train", "FILE", *QUICK)
    assert code == 1
    assert "the base model has no end token" in err
