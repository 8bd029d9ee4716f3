"""A job's files: read by the rule that the job was made under, previewed, and refused with the line at fault."""

from __future__ import annotations

import json

import pytest

from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_records import NewJob
from prompts_store.tuning_store import TuningStore
from server.jobs.examples import Preparation, Prepared
from server.jobs.request import JobRequest, request_to_json
from server.tuning.encoding import encode_examples
from server.tuning.errors import ExamplesRefused
from server.tuning.examples import ExampleLimits
from server.tuning.fit import Host
from server.tuning.plan import TuningPlan
from server.tuning.run_state import job_digest
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import COSTS

GENERIC = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
KNOWN = "{% for m in messages %}{% if m.role in ['system', 'user'] %}{{ m.content }} {% endif %}{% endfor %}->"
PLAN, MANIFEST = TuningPlan(num_steps=5, num_virtual_tokens=4, seed=3), Manifest(template="{input} ->")
SYSTEM = {"role": "system", "content": "Be brief."}

ONE_ANSWER = "fe0b0bd882a7504d0056d6d321ee740f01493b5527c45c193b4d622e03e909bb"
LAST_OF_THREE = "afe50fc3f64782a86c48ee5cc31dd1e56c9ea4a2af3ecef37e1d8fe429358617"
"""Job digests of the files below as of the release before answers had weights."""


def user(text):
    return {"role": "user", "content": text}


def answer(text, **more):
    return {"role": "assistant", "content": text, **more}


def one_answer(number):
    return [SYSTEM, user(f"q{number}"), answer(f"a{number}")]


def three_answers(number):
    asked = [SYSTEM, user(f"q{number}"), answer(f"a{number}", weight=0), user("and?"), answer(f"b{number}", weight=1)]
    return [*asked, user("so?"), answer(f"c{number}", weight=0, name="bot")]


def two_answers(number):
    return [user(f"q{number}"), answer(f"a{number}"), user("and?"), answer(f"b{number}")]


@pytest.fixture
def prepare(tmp_path):
    """Prepare a job on conversations."""
    with Store.open(str(tmp_path / "prompts.db")) as store:
        tuning = TuningStore(store)

        def run(conversation, template=GENERIC, *, of_older_release=False) -> Prepared:
            lines = [json.dumps({"messages": conversation(number)}) for number in range(20)]
            file = tuning.add_file("f.jsonl", "fine-tune", ["\n".join(lines).encode()])
            request = request_to_json(JobRequest(PLAN, MANIFEST))
            if of_older_release:
                del request["reading"]
            job = NewJob(BASE.fingerprint, "mood", file.id, None, 3, request)
            tokenizer = byte_level(template)
            assert tokenizer.eos_token_id is not None
            host = Host(
                ScriptedEngine(lambda *_: (), frozenset()),
                BASE,
                COSTS,
                4 << 30,
                max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES,
            )
            preparation = Preparation(
                tuning, BASE.names[0], tokenizer, tokenizer.eos_token_id, ExampleLimits(), host, tuple
            )
            return preparation.prepare(tuning.create_job(job, max_unfinished=9, actor="ann"))

        yield run


def digest_of(prepared):
    """The digest of a job's checkpoints."""
    tokenizer, data = byte_level(GENERIC), prepared.job.data
    end = prepared.job.end_token_id
    encoded = encode_examples(tokenizer, MANIFEST, [*data.training, *data.validation], end_token_id=end, max_tokens=512)
    return job_digest(PLAN, MANIFEST, encoded, [1])


@pytest.mark.parametrize(
    ("conversation", "of_older_release", "digest"),
    [(one_answer, False, ONE_ANSWER), (one_answer, True, ONE_ANSWER), (three_answers, True, LAST_OF_THREE)],
)
def test_an_unfinished_job_finds_the_examples_of_its_checkpoint(prepare, conversation, of_older_release, digest):
    assert digest_of(prepare(conversation, of_older_release=of_older_release)) == digest


def test_the_preview_shows_each_answer_of_the_first_conversation(prepare):
    """With what is learnt of it, and what was said before it."""
    notes = prepare(two_answers).notes
    previews = [note for note in notes if "tokens" in note.data]
    assert [note.message for note in previews] == [
        f"The first example, its answer {number} of 2, as the model sees it behind the virtual tokens."
        for number in (1, 2)
    ]
    learnt = ["".join(one["text"] for one in note.data["tokens"] if one["learnt"]) for note in previews]
    assert [text[0] for text in learnt] == ["a", "b"]
    assert all(text.endswith("<end>") for text in learnt)
    assert notes[0].message == "20 conversations have 40 answers to learn, each of them an example."
    assert {note.level for note in notes} == {"info"}


def test_one_answer_is_previewed_as_ever(prepare):
    (preview,) = (note for note in prepare(one_answer).notes if "tokens" in note.data)
    assert preview.message == "The first example, as the model sees it behind the virtual tokens."


@pytest.mark.parametrize("of_older_release", [False, True])
@pytest.mark.parametrize(
    ("template", "said"),
    [
        (KNOWN, r"line \d+: the base model's chat template leaves messages\[1\] out"),
        ("{{ messages[0].content + 1 }}", r"line \d+: the base model's chat template accepts no message"),
        ("{% for m in messages %}", r"line \d+: the base model's chat template is no valid Jinja"),
        (None, r"line \d+: the base model has no chat template"),
    ],
)
def test_what_would_not_be_in_the_prompt_is_not_learnt(prepare, template, said, of_older_release):
    """Not even by a job of an older release: what it would learn is the rest of the input."""
    with pytest.raises(ExamplesRefused, match=said) as caught:
        prepare(two_answers, template, of_older_release=of_older_release)
    assert (caught.value.code, caught.value.line is None) == ("bad_line", False)


def test_a_developer_is_learnt_as_a_system_message_where_only_that_is_known(prepare):
    prepared = prepare(lambda number: [{**SYSTEM, "role": "developer"}, *one_answer(number)[1:]], KNOWN)
    (preview,) = (note for note in prepared.notes if "tokens" in note.data)
    assert "".join(one["text"] for one in preview.data["tokens"]).startswith("Be brief. q")
