"""Triton kernels over the paged KV cache: store new keys and values, attend over block tables, join the parts.

The attention kernel is the online softmax of FlashAttention (Dao 2023, arXiv:2307.08691) over blocks found through a
table, split along the context as in Flash-Decoding where a batch is too small to fill the device. Query heads that
share a KV head are rows of one matrix product.

Imported only where Triton is at hand. With `TRITON_INTERPRET=1` before the first import it runs on CPU tensors.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def store_kernel(
    key,
    value,
    key_pages,
    value_pages,
    slots,
    key_head_stride,
    key_token_stride,
    value_head_stride,
    value_token_stride,
    num_kv_heads,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Program (token, KV head) writes one key and one value row to the token's slot."""
    token = tl.program_id(0).to(tl.int64)  # times a stride it may be more than 32 bits count
    head = tl.program_id(1).to(tl.int64)
    slot = tl.load(slots + token).to(tl.int64)
    column = tl.arange(0, WIDTH)
    target = slot * num_kv_heads + head
    row = tl.load(key + head * key_head_stride + token * key_token_stride + column, mask=column < KEY_DIM)
    tl.store(key_pages + target * KEY_DIM + column, row, mask=column < KEY_DIM)
    row = tl.load(value + head * value_head_stride + token * value_token_stride + column, mask=column < VALUE_DIM)
    tl.store(value_pages + target * VALUE_DIM + column, row, mask=column < VALUE_DIM)


# Numbers that change from step to step must not make Triton compile the kernel again.
@triton.jit(do_not_specialize=["num_tokens", "table_sequence_stride", "table_block_stride"])
def attend_kernel(
    query,
    key_pages,
    value_pages,
    sinks,
    bias,
    output,
    parts,
    maxima,
    sums,
    tiles,
    tables,
    scaling,
    softcap,
    bias_entries,
    query_head_stride,
    query_token_stride,
    table_sequence_stride,
    table_block_stride,
    num_kv_heads,
    num_tokens,
    BLOCK_SIZE: tl.constexpr,
    GROUP: tl.constexpr,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    KEY_WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    WINDOW: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BIAS_IS_RELATIVE: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Program (tile, KV head, split) attends `GROUP` query heads of a tile's tokens over a part of its context.

    A tile is four numbers: sequence (row of `tables`), first flat-batch row, tokens, position of the first token.
    `WINDOW` 0 is none. `bias` is `[num_heads, bias_entries]`, see `AttentionBias`.
    `WIDEN` multiplies in float32, which changes no product of two bfloat16 numbers. With one split
    the answer goes to `output` `[num_tokens, num_heads, VALUE_DIM]`, else weighted sums, maxima and sums of weights go
    to `parts`, `maxima` and `sums` (`[NUM_SPLITS, num_tokens, num_heads, …]`).
    """
    tile = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    sequence = tl.load(tiles + tile * 4)
    first_row = tl.load(tiles + tile * 4 + 1)
    tile_tokens = tl.load(tiles + tile * 4 + 2)
    first_position = tl.load(tiles + tile * 4 + 3)

    rows = tl.arange(0, ROWS)
    token = rows // GROUP
    head = (kv_head * GROUP + rows % GROUP).to(tl.int64)
    is_row = token < tile_tokens
    position = first_position + token
    flat_row = (first_row + token).to(tl.int64)
    key_column = tl.arange(0, KEY_WIDTH)
    value_column = tl.arange(0, VALUE_WIDTH)
    rows_of_query = tl.load(
        query + flat_row[:, None] * query_token_stride + head[:, None] * query_head_stride + key_column[None, :],
        mask=is_row[:, None] & (key_column < KEY_DIM)[None, :],
        other=0.0,
    )

    if WIDEN:
        rows_of_query = rows_of_query.to(tl.float32)

    # Slots that any row of the tile sees, cut into equal spans of whole steps.
    stop = first_position + tile_tokens
    start = stop * 0
    if WINDOW > 0:
        start = tl.maximum(first_position - WINDOW + 1, 0) // SLOTS * SLOTS
    span = tl.cdiv(tl.cdiv(stop - start, SLOTS), NUM_SPLITS) * SLOTS
    start += split * span
    stop = tl.minimum(stop, start + span)

    maximum = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    weighted = tl.zeros([ROWS, VALUE_WIDTH], tl.float32)
    for step_start in range(start, stop, SLOTS):
        slot = step_start + tl.arange(0, SLOTS)
        is_slot = slot < stop
        block = tl.load(
            tables + sequence * table_sequence_stride + (slot // BLOCK_SIZE) * table_block_stride, mask=is_slot, other=0
        )
        # Pools hold more numbers than 32 bits count.
        page_row = (block.to(tl.int64) * BLOCK_SIZE + slot % BLOCK_SIZE) * num_kv_heads + kv_head
        keys = tl.load(
            key_pages + page_row[None, :] * KEY_DIM + key_column[:, None],
            mask=is_slot[None, :] & (key_column < KEY_DIM)[:, None],
            other=0.0,
        )
        if WIDEN:
            keys = keys.to(tl.float32)
        # "ieee": TF32, the default for float32, keeps ten bits of the mantissa.
        scores = tl.dot(rows_of_query, keys, input_precision="ieee") * scaling
        if HAS_SOFTCAP:
            # tanh through the exponential of a number that is never positive: no overflow.
            decay = tl.exp(-2.0 * tl.abs(scores / softcap))
            squashed = softcap * (1.0 - decay) / (1.0 + decay)
            scores = tl.where(scores < 0, -squashed, squashed)
        if HAS_BIAS:
            entry = slot[None, :] + position[:, None] * 0
            if BIAS_IS_RELATIVE:
                entry += bias_entries - 1 - position[:, None]
            entry = tl.minimum(tl.maximum(entry, 0), bias_entries - 1)
            scores += tl.load(bias + head[:, None] * bias_entries + entry, mask=is_row[:, None], other=0.0)
        visible = is_slot[None, :] & (slot[None, :] <= position[:, None])
        if WINDOW > 0:
            visible = visible & (slot[None, :] > position[:, None] - WINDOW)
        scores = tl.where(visible, scores, float("-inf"))
        new_maximum = tl.maximum(maximum, tl.max(scores, 1))
        # A row that has seen nothing yet has no maximum to subtract.
        reference = tl.where(new_maximum == float("-inf"), 0.0, new_maximum)
        weights = tl.exp(scores - reference[:, None])
        rescale = tl.exp(maximum - reference)
        values = tl.load(
            value_pages + page_row[:, None] * VALUE_DIM + value_column[None, :],
            mask=is_slot[:, None] & (value_column < VALUE_DIM)[None, :],
            other=0.0,
        )
        total = total * rescale + tl.sum(weights, 1)
        narrow = weights.to(values.dtype)
        if WIDEN:
            narrow = narrow.to(tl.float32)
            values = values.to(tl.float32)
        weighted = weighted * rescale[:, None] + tl.dot(narrow, values, input_precision="ieee")
        maximum = new_maximum

    flat_head = flat_row * (num_kv_heads * GROUP) + head
    is_value = is_row[:, None] & (value_column < VALUE_DIM)[None, :]
    if NUM_SPLITS == 1:
        if HAS_SINKS:
            sink = tl.load(sinks + head, mask=is_row, other=0.0).to(tl.float32)
            new_maximum = tl.maximum(maximum, sink)
            rescale = tl.exp(maximum - new_maximum)
            total = total * rescale + tl.exp(sink - new_maximum)
            weighted = weighted * rescale[:, None]
        answer = weighted / tl.where(is_row, total, 1.0)[:, None]
        tl.store(
            output + flat_head[:, None] * VALUE_DIM + value_column[None, :],
            answer.to(output.dtype.element_ty),
            mask=is_value,
        )
    else:
        part_head = split.to(tl.int64) * num_tokens * num_kv_heads * GROUP + flat_head
        tl.store(parts + part_head[:, None] * VALUE_DIM + value_column[None, :], weighted, mask=is_value)
        tl.store(maxima + part_head, maximum, mask=is_row)
        tl.store(sums + part_head, total, mask=is_row)


@triton.jit(do_not_specialize=["num_tokens"])
def join_kernel(
    parts,
    maxima,
    sums,
    sinks,
    output,
    tiles,
    num_heads,
    num_tokens,
    VALUE_DIM: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
):
    """Program (tile, head) joins the splits of a tile of one token."""
    flat_row = tl.load(tiles + tl.program_id(0) * 4 + 1).to(tl.int64)
    head = tl.program_id(1)
    column = tl.arange(0, VALUE_WIDTH)
    split = tl.arange(0, NUM_SPLITS)
    part_head = (split.to(tl.int64) * num_tokens + flat_row) * num_heads + head
    maximum = tl.load(maxima + part_head)
    largest = tl.max(maximum, 0)
    if HAS_SINKS:
        sink = tl.load(sinks + head).to(tl.float32)
        largest = tl.maximum(largest, sink)
    # A split without slots has maximum -inf: it weighs nothing.
    scale = tl.exp(maximum - largest)
    total = tl.sum(tl.load(sums + part_head) * scale, 0)
    if HAS_SINKS:
        total += tl.exp(sink - largest)
    rows = tl.load(
        parts + part_head[:, None] * VALUE_DIM + column[None, :], mask=(column < VALUE_DIM)[None, :], other=0.0
    )
    answer = tl.sum(rows * scale[:, None], 0) / total
    tl.store(
        output + (flat_row * num_heads + head) * VALUE_DIM + column,
        answer.to(output.dtype.element_ty),
        mask=column < VALUE_DIM,
    )
