"""Known fields of other OpenAI-compatible interfaces that this server does not act on.

Clients send many fields by default. Such a field is *passive* where its value asks for nothing: null, or a value that
its entry lists. A *hint* is passive with every value, since no answer depends on it. A passive field is accepted and
has no effect. A known field that asks for something is refused by name. A field that no table has is unknown, and
refused.

`docs/fields.md` shows the tables (`make openapi`). Sources: the types of the `openai` package, and for the rest the
interface that `origin` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PassiveField:
    """A known field. `passive` lists the values, besides null, that ask for nothing.

    `advice` ends the refusal of every other value: it says what to do. `origin` is the interface that has the field.
    """

    name: str
    passive: tuple[Any, ...] = ()
    is_hint: bool = False
    advice: str = ""
    origin: str = "OpenAI"

    def asks_nothing(self, value: Any) -> bool:
        """Whether this value asks for nothing."""
        return value is None or self.is_hint or any(_equal(value, one) for one in self.passive)

    @property
    def refusal(self) -> str:
        """The sentence about a value that asks for something."""
        return f"the parameter '{self.name}' is not supported" + (f": {self.advice}" if self.advice else "")


Fields = Mapping[str, PassiveField]


def without_passive(fields: Fields, body: Any) -> Any:
    """Return a JSON object without the passive ones of its known fields; whatever else stays as it is."""
    if not isinstance(body, dict) or fields.keys().isdisjoint(body):
        return body
    return {name: value for name, value in body.items() if name not in fields or not fields[name].asks_nothing(value)}


def _equal(value: Any, other: Any) -> bool:
    """JSON equality: 1 is 1.0, but true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _table(*fields: PassiveField) -> dict[str, PassiveField]:
    return {field.name: field for field in fields}


def _vllm(name: str, *passive: Any, is_hint: bool = False, advice: str = "") -> PassiveField:
    return PassiveField(name, passive, is_hint, advice, "vLLM")


def _form(member: str) -> str:
    """The advice for an older name of a member of `structured_outputs`."""
    return f"send structured_outputs with {member}"


def _llama_cpp(name: str, *passive: Any, is_hint: bool = False, advice: str = "") -> PassiveField:
    return PassiveField(name, passive, is_hint, advice, "llama.cpp")


_BEST_OF = "send n; every answer is returned"
_TEMPLATE = "the base model's chat template and the version's manifest form the prompt"
_SPECIAL_TOKENS = "a version's manifest has add_special_tokens"

_SHARED = _table(
    PassiveField("prompt_cache_key", is_hint=True),
    PassiveField("prompt_cache_options", is_hint=True),
    PassiveField("prompt_cache_retention", is_hint=True),
    PassiveField("safety_identifier", is_hint=True),
    PassiveField("service_tier", ("auto", "default"), advice="send 'priority', a number, to be admitted earlier"),
    _vllm("allowed_token_ids", [], advice="send logit_bias"),
    _vllm("bad_words", [], advice="send logit_bias"),
    _vllm("cache_salt", advice="the cache of a key is its own; a key can have a salt"),
    _vllm("detokenize", True, advice="send return_token_ids to have the ids too"),
    _vllm("early_stopping", False, advice="it belongs to beam search"),
    _vllm("guided_choice", [], advice=_form("choice")),
    _vllm("guided_decoding_backend", is_hint=True),
    _vllm("guided_grammar", "", advice=_form("grammar")),
    _vllm("guided_json", advice=_form("json")),
    _vllm("guided_regex", "", advice=_form("regex")),
    _vllm("guided_whitespace_pattern", is_hint=True),
    _vllm("include_stop_str_in_output", False, advice="an answer ends before its stop string"),
    _vllm("kv_transfer_params", {}),
    _vllm("length_penalty", 1.0, advice="it belongs to beam search"),
    _vllm("logits_processors", []),
    _vllm("request_id", is_hint=True, advice="send the header X-Request-Id"),
    _vllm("return_tokens_as_token_ids", False, advice="send return_token_ids"),
    _vllm("skip_special_tokens", True, advice="send return_token_ids to have the ids of special tokens"),
    _vllm("spaces_between_special_tokens", True, advice="special tokens are not in the text"),
    _vllm("truncate_prompt_tokens", -1, advice="shorten the prompt; /tokenize counts its tokens"),
    _vllm("use_beam_search", False),
    _vllm("vllm_xargs", {}),
    _llama_cpp("cache_prompt", is_hint=True),
    _llama_cpp("dry_multiplier", 0, advice="send repetition_penalty"),
    _llama_cpp("dynatemp_range", 0),
    _llama_cpp("grammar", "", advice=_form("grammar")),
    _llama_cpp("id_slot", is_hint=True),
    _llama_cpp("json_schema", {}, advice=_form("json")),
    _llama_cpp("mirostat", 0),
    _llama_cpp("n_probs", 0, advice="send logprobs"),
    _llama_cpp("repeat_penalty", 1.0, advice="send repetition_penalty"),
    _llama_cpp("samplers", []),
    _llama_cpp("tfs_z", 1.0),
    _llama_cpp("timings_per_token", is_hint=True),
    _llama_cpp("top_n_sigma", -1, 0),
    _llama_cpp("typical_p", 1.0),
    _llama_cpp("xtc_probability", 0),
    PassiveField("keep_alive", is_hint=True, origin="Ollama"),
    PassiveField("options", ({},), advice="send the parameters themselves", origin="Ollama"),
    PassiveField("raw", (False,), origin="Ollama"),
)

CHAT_FIELDS: Fields = _SHARED | _table(
    PassiveField("audio", advice="answers are text"),
    PassiveField("function_call", ("none", "auto")),
    PassiveField("functions", ([],)),
    PassiveField("modalities", ([], ["text"]), advice="answers are text"),
    PassiveField("moderation"),
    PassiveField("parallel_tool_calls", is_hint=True),
    PassiveField("prediction", is_hint=True),
    PassiveField("reasoning_effort", ("none",), advice="the base model does not reason apart from its answer"),
    PassiveField("tool_choice", ("none", "auto")),
    PassiveField("tools", ([],)),
    PassiveField("verbosity", ("medium",), advice="say in a message how long the answer may be"),
    PassiveField("web_search_options", advice="this server searches nothing"),
    _vllm("add_generation_prompt", True, advice=_TEMPLATE),
    _vllm("add_special_tokens", False, advice=_SPECIAL_TOKENS),
    _vllm("best_of", 1, advice=_BEST_OF),
    _vllm("chat_template", advice=_TEMPLATE),
    _vllm("chat_template_kwargs", {}, advice=_TEMPLATE),
    _vllm("continue_final_message", False, advice=_TEMPLATE),
    _vllm("documents", [], advice="put the documents into a message"),
    _vllm("echo", False, advice="completions have it"),
    _vllm("include_reasoning", is_hint=True),
    _vllm("mm_processor_kwargs", {}),
    _vllm("prompt_logprobs", 0, advice="completions have echo with logprobs"),
    _vllm("reasoning", advice="the base model does not reason apart from its answer"),
    PassiveField("enable_thinking", (False,), advice=_TEMPLATE, origin="Qwen"),
    PassiveField("format", ("",), advice=_form("json"), origin="Ollama"),
    PassiveField("think", (False,), origin="Ollama"),
)

COMPLETION_FIELDS: Fields = _SHARED | _table(
    PassiveField("best_of", (1,), advice=_BEST_OF),
    PassiveField("suffix", ("",), advice="the base model continues texts, and fills no gaps"),
    _vllm("add_special_tokens", True, advice=_SPECIAL_TOKENS),
    _vllm("lora_request", advice="publish a soft prompt, and name it in model"),
    _vllm("prompt_embeds", [], advice="publish the embeddings as a soft prompt"),
    _vllm("prompt_logprobs", 0, advice="send echo with logprobs"),
)

_POOLING = "the version's manifest has pooling and normalize"

EMBEDDING_FIELDS: Fields = _table(
    _vllm("add_special_tokens", True, advice=_SPECIAL_TOKENS),
    _vllm("additional_data", is_hint=True),
    _vllm("embed_dtype", "float32", advice="vectors are float32"),
    _vllm("endianness", "native", "little", advice="base64 is little-endian"),
    _vllm("normalize", advice=_POOLING),
    _vllm("request_id", is_hint=True, advice="send the header X-Request-Id"),
    _vllm("truncate_prompt_tokens", -1, advice="shorten the input; /tokenize counts its tokens"),
    PassiveField("input_type", is_hint=True, origin="Cohere"),
    PassiveField("truncate", (False,), advice="shorten the input; /tokenize counts its tokens", origin="TEI"),
    PassiveField("prompt_name", advice="the version's manifest has the template", origin="TEI"),
    PassiveField("keep_alive", is_hint=True, origin="Ollama"),
    PassiveField("options", ({},), advice=_POOLING, origin="Ollama"),
)

MESSAGE_FIELDS: Fields = _table(
    PassiveField("name", is_hint=True),
    PassiveField("annotations", is_hint=True),
    PassiveField("audio", advice="messages are text"),
    PassiveField("function_call"),
    PassiveField("parsed", is_hint=True),
    PassiveField("refusal", ("",), advice="send its text as content"),
    PassiveField("tool_call_id"),
    PassiveField("tool_calls", ([],)),
    PassiveField("reasoning", ("", []), advice="leave out what the model only thought", origin="vLLM"),
    PassiveField("reasoning_content", ("",), advice="leave out what the model only thought", origin="vLLM"),
    PassiveField("reasoning_details", ([],), origin="OpenRouter"),
    PassiveField("provider_specific_fields", is_hint=True, origin="LiteLLM"),
    PassiveField("prefix", (False,), advice=_TEMPLATE, origin="Mistral"),
    PassiveField("images", ([],), advice="messages are text", origin="Ollama"),
    PassiveField("thinking", ("",), advice="leave out what the model only thought", origin="Ollama"),
    PassiveField("cache_control", is_hint=True, origin="LiteLLM"),
    PassiveField("id", is_hint=True, origin="Vercel AI SDK"),
)

TEXT_PART_FIELDS: Fields = _table(
    PassiveField("prompt_cache_breakpoint", is_hint=True),
    PassiveField("annotations", is_hint=True, origin="OpenAI's responses"),
    PassiveField("cache_control", is_hint=True, origin="LiteLLM"),
)

STREAM_OPTION_FIELDS: Fields = _table(
    PassiveField("include_obfuscation", is_hint=True),
)

STRUCTURED_FIELDS: Fields = _table(
    _vllm("disable_additional_properties", False, advice="set additionalProperties to false in the schema"),
    _vllm("disable_any_whitespace", False, advice="between the parts of JSON is at most a space or a new line"),
    _vllm("disable_fallback", is_hint=True),
    _vllm("json_object", False, advice="send response_format with type json_object"),
    _vllm("structural_tag", advice=_form("grammar")),
    _vllm("whitespace_pattern", advice="between the parts of JSON is at most a space or a new line"),
)

JOB_FIELDS: Fields = _table(
    PassiveField("integrations", ([],), advice="GET …/events has a job's progress"),
)

JOB_METHOD_FIELDS: Fields = _table(
    PassiveField("dpo", advice="methods are 'supervised' and 'distillation'"),
    PassiveField("reinforcement", advice="methods are 'supervised' and 'distillation'"),
)

BATCH_FIELDS: Fields = _table(
    PassiveField("output_expires_after", advice="files are kept until they are deleted, or by `softprompt db gc`"),
)

FILE_FIELDS: Fields = _table(
    PassiveField("expires_after", ("",), advice="a file is kept until it is deleted"),
)
"""Fields of the form of `/v1/files`, whose values are texts."""

_BY_NAME: Fields = {
    **BATCH_FIELDS,
    **JOB_FIELDS,
    **JOB_METHOD_FIELDS,
    **STREAM_OPTION_FIELDS,
    **STRUCTURED_FIELDS,
    **TEXT_PART_FIELDS,
    **MESSAGE_FIELDS,
    **EMBEDDING_FIELDS,
    **COMPLETION_FIELDS,
    **CHAT_FIELDS,
}


def known_field(name: str) -> PassiveField | None:
    """Return the known field of this name; None for an unknown one."""
    return _BY_NAME.get(name)
