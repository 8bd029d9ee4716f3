"""Fields of `/v1/completions`: the same kinds as of chats."""

from __future__ import annotations

from tests.api.stock_inputs.stock_input import completion

COMPLETIONS = [
    completion("openai's older examples", suffix=""),
    completion("openai's default", best_of=1),
    completion("openai's types", best_of=None, echo=None, logprobs=None, suffix=None),
    completion("FastChat's examples", n=1, best_of=1, use_beam_search=False, stream=False),
    completion("guidellm", stop=None, ignore_eos=True, max_tokens=4, stream=True),
    completion("lm-eval", stop=["<|endoftext|>"], seed=1234, temperature=0, max_tokens=16),
    completion(
        "lm-eval: log-likelihood", prompt=[[72, 105]], temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True
    ),
    completion("evaluation tools", echo=True, max_tokens=0, logprobs=0),
    completion("LangChain.js", prompt=["What a film."], n=1, stream=False),
    completion(
        "vLLM's bench serve", temperature=0.0, repetition_penalty=1.0, max_tokens=4, logprobs=None, ignore_eos=True
    ),
    completion("vLLM's default", prompt_logprobs=None, add_special_tokens=True, response_format=None),
    completion("vLLM's default", response_format={"type": "text"}),
    completion("vLLM's default", prompt_embeds=None, lora_request=None),
    completion("openai's types", logit_bias=None, user="", stop=[]),
    completion("clients of LM Studio", max_tokens=-1),
    completion("openai's types", stream=False, stream_options=None),
    completion("interwhen", use_beam_search=False, stream=True),
    completion("OpenAI's default", presence_penalty=0, frequency_penalty=0, n=1, temperature=1, top_p=1),
    completion(
        "offline vLLM's clients",
        name="every field of vLLM's, at its default",
        n=1,
        best_of=1,
        presence_penalty=1.0,
        frequency_penalty=0.0,
        temperature=1.0,
        top_p=0.95,
        top_k=-1,
        use_beam_search=False,
        length_penalty=1,
        early_stopping=False,
        stop=None,
        stop_token_ids=None,
        ignore_eos=False,
        max_tokens=16,
        logprobs=None,
        prompt_logprobs=None,
        skip_special_tokens=True,
    ),
    completion("infilling clients", "suffix", suffix="}"),
    completion("openai's older examples", "best_of", best_of=3, n=1),
    completion("a script of interwhen's", "prompt_cache", prompt_cache=True),
    completion("SillyTavern, text completion", "dynatemp_low", dynatemp_low=1, dynatemp_high=1, smoothing_factor=0),
    completion("SillyTavern, text completion", "truncation_length", truncation_length=8192),
    completion("Text Generation Inference's clients", "parameters", parameters={"max_new_tokens": 16}),
    completion("Ollama's clients", "options", options={"num_ctx": 512}),
]
