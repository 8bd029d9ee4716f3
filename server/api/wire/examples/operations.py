"""Examples of health, readiness, release, metrics and the engine's state."""

from __future__ import annotations

from server.api.wire import engine, operations
from server.api.wire.examples.inference import BASE, CREATED, DATE_ISO, SENTIMENT
from server.api.wire.examples.tasks import FINGERPRINT, PREFIX_DIGEST

_LATENCY = engine.Histogram(
    count=1_208,
    sum_s=25.1,
    buckets=[
        engine.HistogramBucket(le_s=0.01, count=122),
        engine.HistogramBucket(le_s=0.02, count=801),
        engine.HistogramBucket(le_s=0.04, count=1_190),
    ],
)

EXAMPLES = (
    operations.Health(status="ok"),
    operations.Readiness(status="ready", store="reachable", store_age_s=0.481),
    operations.ServerVersion(
        version="0.1.0",
        base_model=operations.BaseModelVersion(id=BASE, fingerprint=FINGERPRINT, weights="float32"),
    ),
    engine.EngineState(
        object="engine",
        alive=True,
        started_at=CREATED,
        time_s=3_605.25,
        engine="own",
        no_tuning=None,
        model=engine.EngineModel(id=BASE, device="cpu", max_model_len=512),
        counters=engine.EngineCounters(
            prompt_tokens_computed=17_140,
            prompt_tokens_cached=2_112,
            generated_tokens=9_655,
            requests_finished=1_208,
            requests_aborted=3,
            requests_failed=0,
            steps=5_310,
            preemptions=0,
            prefix_loads=4,
            prefix_evictions=0,
        ),
        running=5,
        waiting=2,
        last_step=engine.LastStep(sequences=5, tokens=5),
        tasks=[
            engine.TaskLoad(task=DATE_ISO, running=3, waiting=2, oldest_wait_s=0.204),
            engine.TaskLoad(task=SENTIMENT, running=2, waiting=0, oldest_wait_s=None),
        ],
        other_tasks=engine.OtherTasks(tasks=0, running=0, waiting=0, oldest_wait_s=None),
        latency=engine.EngineLatency(time_to_first_token=_LATENCY, inter_token=_LATENCY),
        kv_blocks=engine.KvBlocks(
            total=26_214,
            free=26_203,
            holders=[
                engine.BlockHolder(kind="prefix", task=SENTIMENT, digest=PREFIX_DIGEST, blocks=1),
                engine.BlockHolder(kind="sequence", task=DATE_ISO, digest=None, blocks=6),
                engine.BlockHolder(kind="sequence", task=SENTIMENT, digest=None, blocks=4),
                engine.BlockHolder(kind="cached", task=None, digest=None, blocks=310),
                engine.BlockHolder(kind="free", task=None, digest=None, blocks=25_893),
            ],
        ),
        soft_prompts=[
            engine.ResidentSoftPrompt(
                task=SENTIMENT,
                references=["sentiment@1"],
                digest=PREFIX_DIGEST,
                virtual_tokens=12,
                blocks=1,
                leases=2,
                pinned=True,
                idle_s=None,
            )
        ],
        other_soft_prompts=engine.OtherSoftPrompts(soft_prompts=0, blocks=0, leases=0),
        tuning=engine.TuningLoad(validating=0, running=1, step=40, planned_steps=200),
        batches=None,
    ),
)
METRICS = (
    "# HELP softprompt_sequences_running Sequences in the batch.\n"
    "# TYPE softprompt_sequences_running gauge\n"
    "softprompt_sequences_running 5.0\n"
)
