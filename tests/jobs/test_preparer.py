"""A job's files: read by the rule that the job was made under, previewed, and refused with the line at fault."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from prompts_store.checkpoint_records import TaskType
from prompts_store.limits import DEFAULT_MAX_TENSOR_BYTES
from prompts_store.manifest import Manifest
from prompts_store.store import Store
from prompts_store.tuning_records import JobStatus, NewJob
from prompts_store.tuning_store import TuningStore
from server.jobs.preparer import JobPreparer, Prepared
from server.jobs.request import JobRequest, request_to_json
from server.tuning.encoding import encode_examples
from server.tuning.errors import ExamplesRefused
from server.tuning.examples import ExampleLimits
from server.tuning.fit import Host
from server.tuning.plan import Defaults, TuningPlan
from server.tuning.run_state import job_digest
from tests.fakes.checkpoints import BASE
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import COSTS
from tests.jobs.bench import LINES, REQUEST, F

GENERIC = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
KNOWN = "{% for m in messages %}{% if m.role in ['system', 'user'] %}{{ m.content }} {% endif %}{% endfor %}->"
PLAN = TuningPlan(num_steps=5, num_virtual_tokens=4, seed=3, defaults=Defaults.FIRST)
MANIFEST = Manifest(template="{input} ->")
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
            return preparer_of(tuning, template).prepare(tuning.create_job(job, max_unfinished=9, actor="ann"))

        yield run


def preparer_of(tuning, template):
    """One with a byte-level tokenizer."""
    tokenizer = byte_level(template)
    assert tokenizer.eos_token_id is not None
    engine = ScriptedEngine(lambda *_: (), frozenset())
    host = Host(engine, BASE, COSTS, 4 << 30, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
    return JobPreparer(tuning, BASE.names[0], tokenizer, tokenizer.eos_token_id, ExampleLimits(), host, tuple)


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
    """The digest that its checkpoint belongs to is that of the release that created the job."""
    assert digest_of(prepare(conversation, of_older_release=of_older_release)) == digest


def test_the_preview_shows_each_answer_of_the_first_conversation(prepare):
    """With what is learnt of it, and what was said before it."""
    notes = prepare(two_answers).events
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


def test_lines_without_a_job_are_shown_as_its_log_shows_them(prepare, tmp_path):
    """Token by token; each answer of a conversation is an example of its line."""
    with Store.open(str(tmp_path / "other.db")) as store:
        lines = [{"messages": two_answers(0)}, {"prompt": "a", "completion": "b"}]
        shown = preparer_of(TuningStore(store), GENERIC).show(lines, JobRequest(PLAN, MANIFEST))
    assert [example.line for example, _ in shown] == [1, 1, 2]
    logged = [note.data["tokens"] for note in prepare(two_answers).events if "tokens" in note.data]
    texts = ["".join(one.text for one in tokens) for _, tokens in shown]
    assert texts[2] == "a ->b<end>"
    asked = ["".join(one["text"] for one in tokens) for tokens in logged]
    assert [text.count("[user]") for text in texts[:2]] == [text.count("[user]") for text in asked] == [1, 2]


def test_one_answer_is_previewed_without_a_number(prepare):
    """The text of its event is that of a file without conversations."""
    (preview,) = (note for note in prepare(one_answer).events if "tokens" in note.data)
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


def test_a_developer_message_is_a_system_message_if_need_be(prepare):
    """As serving does for a chat template that knows no developer."""
    prepared = prepare(lambda number: [{**SYSTEM, "role": "developer"}, *one_answer(number)[1:]], KNOWN)
    (preview,) = (note for note in prepared.events if "tokens" in note.data)
    assert "".join(one["text"] for one in preview.data["tokens"]).startswith("Be brief. q")


# --- in a server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "code", "param"),
    [
        (b"\n\n", "empty_file", "training_file"),
        ([*LINES, "{"], "bad_line", "training_file"),
        ([*LINES, '{"prompt": "x"}'], "bad_line", "training_file"),
        ([*LINES, '{"text": "x", "label": "a"}'], "mixed_forms", "training_file"),
        (b"\xff\xfe" + "\n".join(LINES).encode(), "not_utf8", "training_file"),
        (['{"text": "a", "label": "x"}', '{"text": "b", "label": "x"}'], "single_class", "training_file"),
        (['{"prompt": "a", "completion": "b"}'], "too_few_examples", "training_file"),
        ([*LINES, json.dumps({"prompt": "long " * 400, "completion": "x"})], "example_too_long", "training_file"),
    ],
)
async def test_bad_files_fail_the_job_with_the_line_at_fault(bench, lines, code, param):
    """Before anything is trained; the error names the file."""
    failed = await bench.run(bench.create(lines=lines))
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", code, param)
    if code == "bad_line":
        assert failed.error.message.startswith("line 21: ")
    assert bench.control.began_at == []
    assert bench.store.list_tasks(F) == ()


async def test_a_validation_file_that_is_the_training_file_is_refused(bench):
    """Its scores would be of examples that were trained on."""
    failed = await bench.run(bench.create(validation="\n".join(LINES).encode()))
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", "leakage", "validation_file")


async def test_answers_outside_the_labels_are_refused(bench):
    """Labels that the request names are all that an answer may be."""
    request = replace(REQUEST, manifest=Manifest(template="{input}", labels=("yes", "maybe")))
    failed = await bench.run(bench.create(request))
    assert (failed.error.code, failed.error.param) == ("unknown_label", "training_file")


def small_host(**changes) -> Host:
    """A server with a cache of 60 tokens and a prefix budget of 3 virtual tokens."""
    engine = ScriptedEngine(lambda *_: (), frozenset(), **{"max_context": 60, **changes})
    return Host(engine, BASE, COSTS, 4 << 30, max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)


@pytest.mark.parametrize(
    ("host", "code", "param"),
    [
        (small_host(max_prefix_tokens=3), "invalid_value", "num_virtual_tokens"),
        (small_host(max_context=12), "example_too_long", "training_file"),
        (replace(small_host(), memory_bytes=10_000), "example_too_long", "training_file"),
        (replace(small_host(), memory_bytes=1_000), "invalid_value", "num_virtual_tokens"),
    ],
)
async def test_what_cannot_be_served_or_computed_fails_before_training(bench, host, code, param):
    """Whichever server reads its files; also one that was started with less room since the job was created."""
    job_id = bench.create()
    failed = await bench.run(job_id, host=host)
    assert (failed.status, failed.error.code, failed.error.param) == ("failed", code, param), failed.error
    assert bench.control.began_at == []
    queued = bench.create()
    claim, _ = bench.tuning.claim_job(F, JobStatus.VALIDATING_FILES, "a")
    bench.tuning.mark_valid(claim)
    assert (await bench.run(queued, host=host)).error == failed.error
    assert bench.control.began_at == []


async def test_training_examples_longer_than_the_cache_are_logged(bench):
    """They are learnt from, but no request of that length fits."""
    lines = [*LINES, json.dumps({"prompt": "long " * 20, "completion": "x"})]
    validation = json.dumps({"prompt": "input 99", "completion": "yes"}).encode()
    job_id = bench.create(lines=lines, validation=validation)
    assert (await bench.run(job_id, host=small_host())).status == "succeeded"
    assert any(text.startswith("1 examples are learnt from, but longer than") for text in bench.messages(job_id))


@pytest.mark.parametrize("by", ["name", "folder"])
async def test_a_task_that_is_taken_since_fails_the_job(bench, by):
    """The server was restarted with another --base-names or --tasks-dir."""
    host = None
    if by == "name":
        host = Host(small_host().engine, replace(BASE, names=("mood",)), max_tensor_bytes=DEFAULT_MAX_TENSOR_BYTES)
    else:
        bench.control.owned_tasks = ("mood",)
    failed = await bench.run(bench.create(), host=host)
    expected = {"name": "task_taken", "folder": "task_read_only"}
    assert (failed.error.code, failed.error.param) == (expected[by], "suffix")
    assert bench.control.began_at == []


async def test_answers_that_the_tokenizer_changes_are_logged(bench):
    """Those that it gives back as another text could never match to the letter."""
    lines = [json.dumps({"prompt": f"a {n}", "completion": "yes<end>"}) for n in range(20)]
    job_id = bench.create(lines=lines)
    assert (await bench.run(job_id)).status == "succeeded"
    (told,) = [text for text in bench.messages(job_id) if "do not survive" in text]
    assert told.startswith("20 answers do not survive this tokenizer")
    assert "line 1 has 'yes<end>', and 'yes' is what is learnt and answered." in told


async def test_a_note_on_labels_is_a_warning_whatever_their_text(bench):
    """Its level is that of its kind: a label may read like the note that examples are held out."""
    labels = ["held out", "Held out", "answers to learn"]
    lines = [json.dumps({"text": f"input {number}", "label": labels[number % 3]}) for number in range(30)]
    job_id = bench.create(lines=lines)
    await bench.run(job_id)
    levels = {event.message: event.level for event in bench.tuning.list_events(F, job_id, limit=100)}
    assert levels["The labels 'held out' and 'Held out' differ by case or spaces alone."] == "warn"
    assert levels["3 of 30 examples are held out for validation."] == "info"


def test_lines_without_labels_are_shown_for_no_head(prepare, tmp_path):
    """A job refuses such a file with the same words, unless its request names the labels."""
    request = JobRequest(replace(PLAN, task_type=TaskType.SEQ_CLS), MANIFEST)
    lines = [{"prompt": "a", "completion": "b"}]
    with Store.open(str(tmp_path / "other.db")) as store:
        preparer = preparer_of(TuningStore(store), GENERIC)
        with pytest.raises(ExamplesRefused, match="a head needs the labels that it chooses from"):
            preparer.show(lines, request)
        assert preparer.show([{"text": "a", "label": "b"}], request)
        assert preparer.show(lines, replace(request, manifest=replace(MANIFEST, labels=("b", "c"))))
