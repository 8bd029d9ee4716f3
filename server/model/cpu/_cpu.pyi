def decode_attention(
    output: int,
    query: int,
    keys: int,
    values: int,
    tables: int,
    positions: int,
    num_sequences: int,
    num_heads: int,
    num_kv_heads: int,
    dim: int,
    block_size: int,
    table_width: int,
    query_row_stride: int,
    query_head_stride: int,
    window: int,
    bias: int,
    bias_entries: int,
    bias_is_relative: bool,
    scale: float,
    num_threads: int,
    /,
) -> None: ...

prefill_attention = decode_attention

def store(
    keys: int,
    values: int,
    new_keys: int,
    new_values: int,
    slots: int,
    num_tokens: int,
    width: int,
    key_stride: int,
    value_stride: int,
    /,
) -> None: ...
def rms_norm(
    output: int, input: int, weight: int, num_rows: int, dim: int, epsilon: float, num_threads: int, /
) -> None: ...
def rotate(
    heads: int,
    cosine: int,
    sine: int,
    num_tokens: int,
    num_heads: int,
    dim: int,
    row_stride: int,
    num_threads: int,
    /,
) -> None: ...
def few_rows(
    output: int,
    input: int,
    panels: int,
    bias: int,
    term: int,
    num_rows: int,
    num_inputs: int,
    padded_inputs: int,
    num_outputs: int,
    after: int,
    lanes: int,
    num_threads: int,
    /,
) -> None: ...
def few_rows_lanes() -> int: ...
def int8_rows(
    output: int,
    input: int,
    numbers: int,
    scales: int,
    bias: int,
    term: int,
    num_rows: int,
    num_inputs: int,
    num_outputs: int,
    num_groups: int,
    after: int,
    kind: int,
    num_threads: int,
    /,
) -> None: ...
def int8_kind() -> int: ...
def decode_stack(
    layers: tuple[tuple[object, ...], ...],
    embedding: tuple[int, int, int, int, int, int, int, int],
    norm: tuple[int, float],
    head: tuple[int, int, int, int, int, int, int, int],
    block_size: int,
    /,
) -> object: ...
def decode_step(
    stack: object,
    logits: int,
    ids: int,
    positions: int,
    tables: int,
    cosine: int,
    sine: int,
    num_rows: int,
    table_width: int,
    num_threads: int,
    /,
) -> None: ...
def widening_rows(
    output: int,
    input: int,
    numbers: int,
    scales: int,
    bias: int,
    term: int,
    num_rows: int,
    num_inputs: int,
    num_outputs: int,
    after: int,
    lanes: int,
    num_threads: int,
    /,
) -> None: ...
