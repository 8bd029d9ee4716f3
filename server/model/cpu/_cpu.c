/* What a step does between its matrix products, for CPUs, in float32. Built where there is a C compiler; without it
 * PyTorch's operations compute the same (server/model/paged_attention.py, and the model's own layers).
 *
 * - decode_attention: rows of query heads, each over its own slots of the paged KV cache; keys and values are read
 *   where they lie, with a running softmax (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
 * - prefill_attention: the rows of one sequence's chunk, in blocks of rows and of keys that stay in the caches (Dao et
 *   al., "FlashAttention", 2022).
 * - store: new keys and values into the cache.
 * - few_rows, int8_rows and widening_rows: see their files. decode_stack and decode_step: see decode_step.c.
 * - rms_norm (Zhang and Sennrich, 2019) and rotate (rotary positions: Su et al., 2021), each in one pass.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "between.h"
#include "decode_step.h"
#include "int8_rows.h"
#include "vectors.h"
#include "widening_rows.h"

enum { MAX_GROUP = 4, MAX_WIDTH = 4096, SMALL = 1 << 15 };

/* Query heads `first` to `last` (exclusive) of one sequence. `following` is the sequence that is computed after it. */
typedef struct {
    int64_t sequence, following, first, last;
} Heads;

/* What is added to a head's score of the key at `slot`, for the query at `position` (server/model/attention_bias.py). */
static inline float bias_of(const Task *t, int64_t head, int64_t position, int64_t slot)
{
    const int64_t last = t->bias_entries - 1, entry = t->bias_is_relative ? last - position + slot : slot;
    return t->bias[head * t->bias_entries + (entry < 0 ? 0 : entry < last ? entry : last)];
}

static inline void prefetch(const float *row, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += 16) __builtin_prefetch(row + d, 0, 2);
}

/* Every lane the highest lane of x; NaN is passed over. */
static ALWAYS_INLINE vec highest_lane(vec x)
{
    vec y = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    x = choose(x > y, x, y);
    y = __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    x = choose(x > y, x, y);
    y = __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    x = choose(x > y, x, y);
    y = __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return choose(x > y, x, y);
}

/* Lane i of the result is the sum of rows[i]: four rounds that each halve the rows and what is left to add in them. */
static ALWAYS_INLINE vec sum_each(vec rows[TILE])
{
    vec pairs[8], fours[4], eights[2];
    for (int i = 0; i < 8; i++) {
        const vec a = rows[2 * i], b = rows[2 * i + 1];
        pairs[i] = __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
                   __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    }
    for (int i = 0; i < 4; i++) {
        const vec a = pairs[2 * i], b = pairs[2 * i + 1];
        fours[i] = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                   __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
    for (int i = 0; i < 2; i++) {
        const vec a = fours[2 * i], b = fours[2 * i + 1];
        eights[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
                    __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
    const vec a = eights[0], b = eights[1];
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

/* What a query head has gathered, beside the sum of values weighted by e^(score - highest): `highest` in every lane,
 * and the weights of each lane's slots. */
typedef struct {
    vec highest, total;
} Running;

/* `num_heads` query heads of one KV head over a tile: `count` slots at `offsets` (the other offsets name any slot, to be
 * read and to weigh nothing), while the tile at `next` is fetched. `bias` [num_heads, TILE] is added to scores, or NULL.
 * The heads take each phase together, so that a key or value is loaded once for all, and one head's wait is another's
 * work. Inlined into callers that know `num_heads` and `dim`, so that loops unroll and sums stay in registers. */
static ALWAYS_INLINE void attend_tile(const float *query, const float *keys, const float *values,
                                      const int64_t offsets[TILE], int64_t count, const int64_t *next,
                                      const float *bias, float *sum, Running *running, const int num_heads,
                                      const int64_t dim)
{
    const int64_t num_vectors = dim / TILE;
    vec products[MAX_GROUP][TILE], weights[MAX_GROUP], shrink[MAX_GROUP], queries[MAX_GROUP][MAX_DIM / TILE];
    for (int h = 0; h < num_heads; h++)
        for (int64_t v = 0; v < num_vectors; v++) queries[h][v] = LOAD(query + h * dim + v * TILE);
    for (int s = 0; s < TILE; s++) {
        const float *key = keys + offsets[s];
        prefetch(keys + next[s], dim);
        for (int h = 0; h < num_heads; h++) {
            vec product = queries[h][0] * LOAD(key);
            for (int64_t v = 1; v < num_vectors; v++) product += queries[h][v] * LOAD(key + v * TILE);
            products[h][s] = product;
        }
    }
    const ivec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, seen = lanes < (int32_t)count;
    for (int h = 0; h < num_heads; h++) {
        vec scores = sum_each(products[h]);
        if (bias) scores += LOAD(bias + h * TILE);
        scores = choose(seen, scores, (vec){} - INFINITY);
        vec highest = highest_lane(scores);
        highest = choose(running[h].highest > highest, running[h].highest, highest);
        shrink[h] = exponential(running[h].highest - highest);
        weights[h] = choose(seen, exponential(scores - highest), (vec){});
        running[h].highest = highest;
        running[h].total = running[h].total * shrink[h] + weights[h];
    }
    const float *weight = (const float *)weights; /* [num_heads, TILE]: from memory one is soon spread over a vector */
    for (int64_t v = 0; v < num_vectors; v++) {
        vec into[MAX_GROUP];
        for (int h = 0; h < num_heads; h++) into[h] = LOAD(sum + h * dim + v * TILE) * shrink[h];
        for (int s = 0; s < TILE; s++) {
            const vec value = LOAD(values + offsets[s] + v * TILE);
            if (v == 0) prefetch(values + next[s], dim);
            for (int h = 0; h < num_heads; h++) into[h] += weight[h * TILE + s] * value;
        }
        for (int h = 0; h < num_heads; h++) LOAD(sum + h * dim + v * TILE) = into[h];
    }
}

static inline int64_t first_position(const Task *t, int64_t sequence)
{
    const int64_t last = t->positions[sequence];
    return t->window && last >= t->window ? last - t->window + 1 : 0;
}

/* The offsets of the tile at `position` of a sequence, and how many of its slots are seen. */
static ALWAYS_INLINE int64_t locate(const Task *t, int64_t sequence, int64_t position, int64_t offsets[TILE])
{
    const int64_t *table = t->tables + sequence * t->table_width;
    const int64_t stride = t->num_kv_heads * t->dim, left = t->positions[sequence] + 1 - position;
    const int64_t count = left < TILE ? left : TILE;
    int64_t block = position / t->block_size, slot = position % t->block_size;
    for (int64_t s = 0; s < TILE; s++) {
        if (s >= count) {
            offsets[s] = offsets[0];
            continue;
        }
        offsets[s] = (table[block] * t->block_size + slot) * stride;
        if (++slot == t->block_size) slot = 0, block++;
    }
    return count;
}

static ALWAYS_INLINE void attend_dim(const Task *t, const Heads *h, const int64_t dim, const int64_t max_group)
{
    const int64_t per_kv_head = t->num_heads / t->num_kv_heads, num_heads = h->last - h->first;
    const int64_t last = t->positions[h->sequence];
    float query[MAX_WIDTH], sum[MAX_WIDTH];
    Running running[MAX_WIDTH / TILE];

    for (int64_t head = 0; head < num_heads; head++) {
        const float *row = t->query + h->sequence * t->query_row_stride + (h->first + head) * t->query_head_stride;
        for (int64_t d = 0; d < dim; d++) {
            query[head * dim + d] = row[d] * t->scale;
            sum[head * dim + d] = 0;
        }
        running[head] = (Running){.highest = (vec){} - INFINITY};
    }
    int64_t position = first_position(t, h->sequence);
    int64_t tiles[2][TILE] = {{0}}, *here = tiles[0], *next = tiles[1];
    int64_t count = locate(t, h->sequence, position, here);
    while (count) {
        position += count;
        const int64_t next_count = position <= last ? locate(t, h->sequence, position, next) : 0;
        if (!next_count) locate(t, h->following, first_position(t, h->following), next);
        for (int64_t head = 0; head < num_heads;) {
            const int64_t kv_head = (h->first + head) / per_kv_head;
            const int64_t left = (kv_head + 1) * per_kv_head - h->first - head; /* of this KV head */
            const int64_t wanted = left < num_heads - head ? left : num_heads - head;
            const int64_t group = wanted < max_group ? wanted : max_group;
            const float *keys = t->keys + kv_head * dim, *values = t->values + kv_head * dim;
            float biases[MAX_GROUP * TILE];
            const float *bias = t->bias ? biases : NULL;
            if (bias)
                for (int64_t i = 0; i < group * TILE; i++)
                    biases[i] = bias_of(t, h->first + head + i / TILE, last, position - count + i % TILE);
#define ATTEND(size)                                                                                                   \
    attend_tile(query + head * dim, keys, values, here, count, next, bias, sum + head * dim, &running[head], size, dim)
            switch (group) {
            case 1: ATTEND(1); break;
            case 2: ATTEND(2); break;
            case 3: ATTEND(3); break;
            default: ATTEND(MAX_GROUP);
            }
#undef ATTEND
            head += group;
        }
        int64_t *swap = here;
        here = next, next = swap, count = next_count;
    }
    for (int64_t head = 0; head < num_heads; head++) {
        float *row = t->output + (h->sequence * t->num_heads + h->first + head) * dim, total = 0;
        for (int lane = 0; lane < TILE; lane++) total += running[head].total[lane];
        for (int64_t d = 0; d < dim; d++) row[d] = sum[head * dim + d] / total;
    }
}

EACH_CPU
static void attend(const Task *t, const Heads *h)
{
    switch (t->dim) {
    case 32: attend_dim(t, h, 32, 1); break; /* small heads are seldom shared: no more, for the compiler's time */
    case 64: attend_dim(t, h, 64, MAX_GROUP); break;
    case 128: attend_dim(t, h, 128, MAX_GROUP); break;
    default: attend_dim(t, h, t->dim, 1);
    }
}

void attend_share(const Task *t, int num_threads)
{
    /* Whole sequences where that keeps every thread busy, else one KV head at a time. */
    const int64_t fitting = MAX_WIDTH / t->dim, per_kv_head = t->num_heads / t->num_kv_heads;
    const int64_t wanted = t->num_sequences >= 4 * num_threads || num_threads == 1 ? t->num_heads : per_kv_head;
    const int64_t width = wanted < fitting ? wanted : fitting, per_sequence = (t->num_heads + width - 1) / width;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < t->num_sequences * per_sequence; item++) {
        const int64_t first = item % per_sequence * width;
        const int64_t last = first + width < t->num_heads ? first + width : t->num_heads;
        const int64_t sequence = item / per_sequence, after = (item + 1) / per_sequence;
        attend(t, &(Heads){sequence, after < t->num_sequences ? after : sequence, first, last});
    }
}

static void attend_all(const Task *t, int num_threads)
{
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
    attend_share(t, num_threads);
}

/* --- prefill ----------------------------------------------------------------------------------------------------- */

/* A panel is PANEL keys and values of one KV head; queries (rows by the heads that share it) are taken FEW at a time, so
 * that FEW by PANEL scores, and as much of the sums, stay in registers. An item of work is up to MANY queries. */
enum { WIDE = 2, PANEL = WIDE * TILE, FEW = 8, MANY = 96 };

/* What one thread works with. */
typedef struct {
    float queries[MANY * MAX_DIM]; /* [query / FEW, dim, FEW] */
    float sums[MANY * MAX_DIM];    /* [query, dim] */
    float keys[MAX_DIM * PANEL];                         /* [dim, PANEL] */
    const float *values[PANEL];                          /* a slot's value [dim] */
    float weights[FEW * PANEL]; /* scores, then e^(score - highest) */
    float highest[MANY], shrink[FEW];
    vec totals[MANY];
} Scratch;

/* Row i becomes column i: each round swaps the off-diagonal halves of squares half as large as the last one's. */
static ALWAYS_INLINE void transpose(vec rows[TILE])
{
#define SWAP(distance, low, high)                                                                                      \
    for (int i = 0; i < TILE; i++)                                                                                     \
        if (!(i & distance)) {                                                                                         \
            const vec a = rows[i], b = rows[i + distance];                                                             \
            rows[i] = __builtin_shufflevector(a, b, low);                                                              \
            rows[i + distance] = __builtin_shufflevector(a, b, high);                                                  \
        }
#define LIST(...) __VA_ARGS__
    SWAP(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
         LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    SWAP(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
         LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    SWAP(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
         LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    SWAP(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef LIST
#undef SWAP
}

/* Fetch the panel at `position`: its keys transposed, and where its values lie. */
static ALWAYS_INLINE void gather_panel(const Task *t, int64_t kv_head, int64_t position, int64_t count, Scratch *s)
{
    const int64_t stride = t->num_kv_heads * t->dim;
    const float *keys[PANEL];
    for (int64_t slot = 0; slot < PANEL; slot++) {
        const int64_t here = position + (slot < count ? slot : 0); /* any slot: it weighs nothing */
        const int64_t row = t->tables[here / t->block_size] * t->block_size + here % t->block_size;
        keys[slot] = t->keys + row * stride + kv_head * t->dim;
        s->values[slot] = t->values + row * stride + kv_head * t->dim;
    }
    for (int64_t d = 0; d < t->dim; d += TILE)
        for (int w = 0; w < WIDE; w++) {
            vec rows[TILE];
            for (int i = 0; i < TILE; i++) rows[i] = LOAD(keys[w * TILE + i] + d);
            transpose(rows);
            for (int i = 0; i < TILE; i++) LOAD(s->keys + (d + i) * PANEL + w * TILE) = rows[i];
        }
}

/* Add to `width` vectors of FEW queries' sums, from dimension `d` on. */
static ALWAYS_INLINE void add_values(const Task *t, Scratch *s, int64_t first, int64_t d, const int width)
{
    float *sums = s->sums + first * t->dim + d;
    vec into[FEW][WIDE];
    for (int i = 0; i < FEW; i++)
        for (int w = 0; w < width; w++) into[i][w] = LOAD(sums + i * t->dim + w * TILE) * s->shrink[i];
    for (int slot = 0; slot < PANEL; slot++) {
        vec value[WIDE];
        for (int w = 0; w < width; w++) value[w] = LOAD(s->values[slot] + d + w * TILE);
        for (int i = 0; i < FEW; i++)
            for (int w = 0; w < width; w++) into[i][w] += s->weights[i * PANEL + slot] * value[w];
    }
    for (int i = 0; i < FEW; i++)
        for (int w = 0; w < width; w++) LOAD(sums + i * t->dim + w * TILE) = into[i][w];
}

static ALWAYS_INLINE vec higher(vec a, vec b) { return choose(a > b, a, b); }

/* Lane i, and lane i + FEW, is the highest of rows[i]; as `sum_each`. */
static ALWAYS_INLINE vec highest_each(const vec rows[FEW])
{
    vec pairs[4], fours[2];
    for (int i = 0; i < 4; i++) {
        const vec a = rows[2 * i], b = rows[2 * i + 1];
        pairs[i] =
            higher(__builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                   __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
    }
    for (int i = 0; i < 2; i++) {
        const vec a = pairs[2 * i], b = pairs[2 * i + 1];
        fours[i] =
            higher(__builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                   __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    }
    const vec a = fours[0], b = fours[1];
    const vec c = higher(__builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                         __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    return higher(c, __builtin_shufflevector(c, c, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
}

/* Query i's scores or weights outside `from[i]` to `to[i]` (exclusive) become `unseen`. */
static ALWAYS_INLINE void hide(float *weights, const int32_t from[FEW], const int32_t to[FEW], float unseen)
{
    const ivec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int i = 0; i < FEW; i++)
        for (int w = 0; w < WIDE; w++) {
            const ivec slots = lanes + w * TILE, seen = (slots >= from[i]) & (slots < to[i]);
            float *weight = weights + i * PANEL + w * TILE;
            LOAD(weight) = choose(seen, LOAD(weight), (vec){} + unseen);
        }
}

/* Keys of one KV head from `position` on, and the first query that is computed over them. */
typedef struct {
    int64_t kv_head, query, position;
} Panel;

/* Add the bias to the scores of FEW queries from `query` on, over the panel whose first key is at `position`. */
static void add_bias(const Task *t, int64_t kv_head, int64_t query, int64_t position, float *scores)
{
    const int64_t group = t->num_heads / t->num_kv_heads, last = t->num_sequences * group - 1;
    for (int64_t i = 0; i < FEW; i++) {
        const int64_t q = query + i < last ? query + i : last, own = t->positions[0] + q / group;
        for (int64_t slot = 0; slot < PANEL; slot++)
            scores[i * PANEL + slot] += bias_of(t, kv_head * group + q % group, own, position + slot);
    }
}

/* FEW queries from `first` on over the panel; query i sees the slots `from[i]` to `to[i]` (exclusive). */
static ALWAYS_INLINE void attend_panel(const Task *t, Scratch *s, int64_t first, const int32_t from[FEW],
                                       const int32_t to[FEW], const Panel *panel)
{
    const int64_t dim = t->dim;
    const float *query = s->queries + first * dim;
    vec scores[FEW][WIDE] = {{{0}}}, highest[FEW];
    for (int64_t d = 0; d < dim; d++) {
        const float *key = s->keys + d * PANEL;
        for (int i = 0; i < FEW; i++)
            for (int w = 0; w < WIDE; w++) scores[i][w] += query[d * FEW + i] * LOAD(key + w * TILE);
    }
    int is_whole = 1;
    for (int i = 0; i < FEW; i++) {
        is_whole &= from[i] == 0 && to[i] == PANEL;
        for (int w = 0; w < WIDE; w++) LOAD(s->weights + i * PANEL + w * TILE) = scores[i][w];
    }
    if (t->bias) add_bias(t, panel->kv_head, panel->query + first, panel->position, s->weights);
    if (!is_whole) hide(s->weights, from, to, -INFINITY);
    for (int i = 0; i < FEW; i++) {
        highest[i] = LOAD(s->weights + i * PANEL);
        for (int w = 1; w < WIDE; w++) highest[i] = higher(highest[i], LOAD(s->weights + i * PANEL + w * TILE));
    }
    vec before = {0};
    memcpy(&before, s->highest + first, FEW * sizeof(float));
    const vec after = higher(before, highest_each(highest)), shrink = exponential(before - after);
    memcpy(s->highest + first, &after, FEW * sizeof(float));
    memcpy(s->shrink, &shrink, FEW * sizeof(float));
    for (int i = 0; i < FEW; i++)
        for (int w = 0; w < WIDE; w++) {
            float *weight = s->weights + i * PANEL + w * TILE;
            LOAD(weight) = exponential(LOAD(weight) - s->highest[first + i]);
        }
    if (!is_whole) hide(s->weights, from, to, 0);
    for (int i = 0; i < FEW; i++) {
        vec total = s->totals[first + i] * s->shrink[i];
        for (int w = 0; w < WIDE; w++) total += LOAD(s->weights + i * PANEL + w * TILE);
        s->totals[first + i] = total;
    }
    int64_t d = 0;
    for (; d + WIDE * TILE <= dim; d += WIDE * TILE) add_values(t, s, first, d, WIDE);
    if (d < dim) add_values(t, s, first, d, 1);
}

/* The queries `first` to `last` (exclusive) of a KV head: query q is row q / group, the (q % group)-th of its heads. */
EACH_CPU
static void attend_queries(const Task *t, int64_t kv_head, int64_t first, int64_t last, Scratch *s)
{
    const int64_t dim = t->dim, group = t->num_heads / t->num_kv_heads, count = last - first;
    const int64_t padded = (count + FEW - 1) / FEW * FEW;
    for (int64_t q = 0; q < padded; q++) {
        const int64_t row = (first + q) / group, head = kv_head * group + (first + q) % group;
        const float *query = t->query + row * t->query_row_stride + head * t->query_head_stride;
        for (int64_t d = 0; d < dim; d++) {
            s->queries[(q / FEW * dim + d) * FEW + q % FEW] = q < count ? query[d] * t->scale : 0;
            s->sums[q * dim + d] = 0;
        }
        s->highest[q] = -FLT_MAX; /* a row may see nothing of its first panel */
        s->totals[q] = (vec){};
    }
    const int64_t start = t->positions[0], end = start + (last - 1) / group + 1;
    const int64_t low = start + first / group + 1 - t->window;
    for (int64_t position = t->window && low > 0 ? low : 0; position < end; position += PANEL) {
        const Panel panel = {kv_head, first, position};
        gather_panel(t, kv_head, position, end - position < PANEL ? end - position : PANEL, s);
        for (int64_t q = 0; q < padded; q += FEW) {
            int32_t from[FEW], to[FEW];
            for (int64_t i = 0; i < FEW; i++) {
                const int64_t own = start + (q + i < count ? first + q + i : last - 1) / group - position;
                const int64_t lowest = t->window ? own + 1 - t->window : 0;
                to[i] = (int32_t)(own < 0 ? 0 : own < PANEL ? own + 1 : PANEL);
                from[i] = (int32_t)(lowest < 0 ? 0 : lowest < PANEL ? lowest : PANEL);
            }
            if (to[FEW - 1] > from[0]) attend_panel(t, s, q, from, to, &panel);
        }
    }
    for (int64_t q = 0; q < count; q++) {
        const int64_t row = (first + q) / group, head = kv_head * group + (first + q) % group;
        float *output = t->output + (row * t->num_heads + head) * dim, total = 0;
        for (int lane = 0; lane < TILE; lane++) total += s->totals[q][lane];
        for (int64_t d = 0; d < dim; d++) output[d] = s->sums[q * dim + d] / total;
    }
}

/* Of a task that is one sequence's chunk: `num_sequences` rows at `positions[0]` and after, over the one block table.
 * False where there is no memory. */
static int prefill_all(const Task *t, int num_threads)
{
    const int64_t queries = t->num_sequences * (t->num_heads / t->num_kv_heads), parts = (queries + MANY - 1) / MANY;
    int failed = 0;
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
    {
        Scratch *scratch = aligned_alloc(64, (sizeof(Scratch) + 63) / 64 * 64);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < t->num_kv_heads * parts; item++) {
            const int64_t first = item % parts * MANY, last = first + MANY < queries ? first + MANY : queries;
            if (scratch) attend_queries(t, item / parts, first, last, scratch);
            else failed = 1;
        }
        free(scratch);
    }
    return !failed;
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

EACH_CPU
void normalize(float *restrict output, const float *restrict input, const float *restrict weight, int64_t dim,
               float epsilon)
{
    float squares = 0;
    for (int64_t d = 0; d < dim; d++) squares += input[d] * input[d];
    const float scale = 1.0f / sqrtf(squares / (float)dim + epsilon);
    for (int64_t d = 0; d < dim; d++) output[d] = weight[d] * (input[d] * scale);
}

EACH_CPU
void rotate_heads(float *restrict heads, const float *restrict cosine, const float *restrict sine, int64_t num_heads,
                  int64_t dim)
{
    const int64_t half = dim / 2;
    for (int64_t head = 0; head < num_heads; head++) {
        float *restrict first = heads + head * dim, *restrict second = first + half;
        for (int64_t d = 0; d < half; d++) {
            const float a = first[d], b = second[d];
            first[d] = a * cosine[d] - b * sine[d];
            second[d] = b * cosine[half + d] + a * sine[half + d];
        }
    }
}

static inline float *floats(unsigned long long address) { return (float *)(uintptr_t)address; }

static PyObject *rms_norm(PyObject *self, PyObject *arguments)
{
    unsigned long long output, input, weight;
    long long num_rows, dim;
    double epsilon;
    int num_threads;
    if (!PyArg_ParseTuple(arguments, "KKKLLdi", &output, &input, &weight, &num_rows, &dim, &epsilon, &num_threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for num_threads(num_threads) if (num_threads > 1 && num_rows * dim > SMALL)
    for (long long row = 0; row < num_rows; row++)
        normalize(floats(output) + row * dim, floats(input) + row * dim, floats(weight), dim, (float)epsilon);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *rotate(PyObject *self, PyObject *arguments)
{
    unsigned long long heads, cosine, sine;
    long long num_tokens, num_heads, dim, stride;
    int num_threads;
    if (!PyArg_ParseTuple(arguments, "KKKLLLLi", &heads, &cosine, &sine, &num_tokens, &num_heads, &dim, &stride,
                          &num_threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
#pragma omp parallel for num_threads(num_threads) if (num_threads > 1 && num_tokens * num_heads * dim > SMALL)
    for (long long token = 0; token < num_tokens; token++)
        rotate_heads(floats(heads) + token * stride, floats(cosine) + token * dim, floats(sine) + token * dim,
                     num_heads, dim);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *few_rows_product(PyObject *self, PyObject *arguments)
{
    unsigned long long output, input, panels, bias, term;
    long long num_rows, num_inputs, padded_inputs, num_outputs;
    int after, lanes, num_threads;
    if (!PyArg_ParseTuple(arguments, "KKKKKLLLLiii", &output, &input, &panels, &bias, &term, &num_rows, &num_inputs,
                          &padded_inputs, &num_outputs, &after, &lanes, &num_threads))
        return NULL;
    const Product product = {.output = floats(output),
                             .input = floats(input),
                             .panels = floats(panels),
                             .bias = floats(bias),
                             .term = floats(term),
                             .num_rows = num_rows,
                             .num_inputs = num_inputs,
                             .padded_inputs = padded_inputs,
                             .num_outputs = num_outputs,
                             .after = after,
                             .lanes = lanes};
    Py_BEGIN_ALLOW_THREADS
    few_rows(&product, num_threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *lanes_of_cpu(PyObject *self, PyObject *none) { return PyLong_FromLong(few_rows_lanes()); }

static PyObject *int8_rows_product(PyObject *self, PyObject *arguments)
{
    unsigned long long output, input, numbers, scales, bias, term;
    long long num_rows, num_inputs, num_outputs, num_groups;
    int after, kind, num_threads, done;
    if (!PyArg_ParseTuple(arguments, "KKKKKKLLLLiii", &output, &input, &numbers, &scales, &bias, &term, &num_rows,
                          &num_inputs, &num_outputs, &num_groups, &after, &kind, &num_threads))
        return NULL;
    const Int8Product product = {.product = {.output = floats(output),
                                             .input = floats(input),
                                             .bias = floats(bias),
                                             .term = floats(term),
                                             .num_rows = num_rows,
                                             .num_inputs = num_inputs,
                                             .num_outputs = num_outputs,
                                             .after = after},
                                 .numbers = (const uint8_t *)(uintptr_t)numbers,
                                 .scales = floats(scales),
                                 .num_groups = num_groups,
                                 .kind = kind};
    Py_BEGIN_ALLOW_THREADS
    done = int8_rows(&product, num_threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *int8_kind_of_cpu(PyObject *self, PyObject *none) { return PyLong_FromLong(int8_kind()); }

static PyObject *widening_rows_product(PyObject *self, PyObject *arguments)
{
    unsigned long long output, input, numbers, scales, bias, term;
    long long num_rows, num_inputs, num_outputs;
    int after, lanes, num_threads;
    if (!PyArg_ParseTuple(arguments, "KKKKKKLLLiii", &output, &input, &numbers, &scales, &bias, &term, &num_rows,
                          &num_inputs, &num_outputs, &after, &lanes, &num_threads))
        return NULL;
    const WideningProduct product = {.product = {.output = floats(output),
                                                 .input = floats(input),
                                                 .bias = floats(bias),
                                                 .term = floats(term),
                                                 .num_rows = num_rows,
                                                 .num_inputs = num_inputs,
                                                 .num_outputs = num_outputs,
                                                 .after = after,
                                                 .lanes = lanes},
                                     .numbers = (const void *)(uintptr_t)numbers,
                                     .scales = floats(scales)};
    Py_BEGIN_ALLOW_THREADS
    widening_rows(&product, num_threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *store(PyObject *self, PyObject *arguments)
{
    unsigned long long keys, values, new_keys, new_values, slots;
    long long num_tokens, width, key_stride, value_stride;
    if (!PyArg_ParseTuple(arguments, "KKKKKLLLL", &keys, &values, &new_keys, &new_values, &slots, &num_tokens, &width,
                          &key_stride, &value_stride))
        return NULL;
    const int64_t *slot = (const int64_t *)(uintptr_t)slots;
    const size_t size = (size_t)width * sizeof(float);
    Py_BEGIN_ALLOW_THREADS
    for (long long token = 0; token < num_tokens; token++) {
        memcpy(floats(keys) + slot[token] * width, floats(new_keys) + token * key_stride, size);
        memcpy(floats(values) + slot[token] * width, floats(new_values) + token * value_stride, size);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* The arguments of either attention; false, with an exception set, where they are no such. */
static int parse(PyObject *arguments, Task *t, int *num_threads)
{
    unsigned long long output, query, keys, values, tables, positions, bias;
    long long num_sequences, num_heads, num_kv_heads, dim, block_size, table_width, row_stride, head_stride, window;
    long long bias_entries;
    int bias_is_relative;
    double scale;
    if (!PyArg_ParseTuple(arguments, "KKKKKKLLLLLLLLLKLpdi", &output, &query, &keys, &values, &tables, &positions,
                          &num_sequences, &num_heads, &num_kv_heads, &dim, &block_size, &table_width, &row_stride,
                          &head_stride, &window, &bias, &bias_entries, &bias_is_relative, &scale, num_threads))
        return 0;
    *t = (Task){
        .output = (float *)(uintptr_t)output,
        .query = (const float *)(uintptr_t)query,
        .keys = (const float *)(uintptr_t)keys,
        .values = (const float *)(uintptr_t)values,
        .tables = (const int64_t *)(uintptr_t)tables,
        .positions = (const int64_t *)(uintptr_t)positions,
        .num_sequences = num_sequences,
        .num_heads = num_heads,
        .num_kv_heads = num_kv_heads,
        .dim = dim,
        .block_size = block_size,
        .table_width = table_width,
        .query_row_stride = row_stride,
        .query_head_stride = head_stride,
        .window = window,
        .bias = (const float *)(uintptr_t)bias,
        .bias_entries = bias_entries,
        .bias_is_relative = bias_is_relative,
        .scale = (float)scale,
    };
    if (t->dim <= MAX_DIM) return 1;
    PyErr_SetString(PyExc_ValueError, "heads of more than 256 numbers are not supported");
    return 0;
}

static PyObject *decode_attention(PyObject *self, PyObject *arguments)
{
    Task t;
    int num_threads;
    if (!parse(arguments, &t, &num_threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    attend_all(&t, num_threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *prefill_attention(PyObject *self, PyObject *arguments)
{
    Task t;
    int num_threads, done;
    if (!parse(arguments, &t, &num_threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    done = prefill_all(&t, num_threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"decode_attention", decode_attention, METH_VARARGS, NULL},
    {"prefill_attention", prefill_attention, METH_VARARGS, NULL},
    {"store", store, METH_VARARGS, NULL},
    {"few_rows", few_rows_product, METH_VARARGS, NULL},
    {"few_rows_lanes", lanes_of_cpu, METH_NOARGS, NULL},
    {"int8_rows", int8_rows_product, METH_VARARGS, NULL},
    {"widening_rows", widening_rows_product, METH_VARARGS, NULL},
    {"int8_kind", int8_kind_of_cpu, METH_NOARGS, NULL},
    {"rms_norm", rms_norm, METH_VARARGS, NULL},
    {"rotate", rotate, METH_VARARGS, NULL},
    {"decode_stack", decode_stack, METH_VARARGS, NULL},
    {"decode_step", decode_step, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_cpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__cpu(void) { return PyModule_Create(&module); }
