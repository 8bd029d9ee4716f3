"""Fields of `/v1/fine_tuning/jobs`: as the types of `openai` have them, and as older scripts do."""

from __future__ import annotations

from tests.api.stock_inputs.stock_input import JOBS, StockInput, job

_AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
_WANDB = {"type": "wandb", "wandb": {"project": "ours"}}
_GRADER = {"type": "string_check", "name": "g", "input": "a", "reference": "b", "operation": "eq"}

JOB_BODIES = [
    job("openai's types", hyperparameters=None, method=None),
    job("openai's types", integrations=None, metadata=None, seed=None, validation_file=None),
    job("openai's types", integrations=[], metadata={}),
    job("LlamaIndex's fine-tuning engine", hyperparameters={}),
    job("OpenAI's default", hyperparameters=_AUTO),
    job("OpenAI's guide", method={"type": "supervised"}),
    job("OpenAI's guide", method={"type": "supervised", "supervised": {}}),
    job("OpenAI's guide", method={"type": "supervised", "supervised": {"hyperparameters": None}}),
    job(
        "a job's method put back",
        method={"type": "supervised", "supervised": {"hyperparameters": _AUTO}, "dpo": None, "reinforcement": None},
    ),
    job(
        "both places, one of them null",
        hyperparameters=None,
        method={"type": "supervised", "supervised": {"hyperparameters": _AUTO}},
    ),
    job("forms of user interfaces", validation_file=""),
    job("openai's types", hyperparameters={"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.5}),
    job("openai's guide", "integrations", integrations=[_WANDB]),
    job("openai's guide", "method", method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}),
    job("openai's guide", "method", method={"type": "reinforcement", "reinforcement": {"grader": _GRADER}}),
    job("a job of OpenAI's own model", "model", 404, model="gpt-4o-mini-2024-07-18"),
    job("the older interface", "n_epochs", n_epochs=3),
    job("the older interface", "prompt_loss_weight", prompt_loss_weight=0.01),
    job("the older interface", "compute_classification_metrics", compute_classification_metrics=True),
    job("Azure's clients", "trainingType", trainingType=1),
    job("Together's clients", "lora", lora=True),
    job("scripts that pass texts", "hyperparameters", hyperparameters={"n_epochs": "3"}),
    job("DPO's parameter in the wrong place", "hyperparameters", hyperparameters={"beta": 0.1}),
    job("a null where a name is needed", "suffix", suffix=None),
    StockInput("job: an empty body", "curl -X POST", "POST", JOBS, b"", ""),
]
