/* Decode attention over a paged KV cache, for CPUs, in float32.
 *
 * One query token a sequence; its keys and values are read where they lie, block by block, with a running softmax
 * (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). Built where there is a C compiler;
 * without it, server/model/paged_attention.py computes the same from a gathered copy.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_CPU
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { MAX_GROUP = 8, MAX_DIM = 256, TILE = 64 };

typedef struct {
    float *output;            /* [num_sequences, num_heads, dim] */
    const float *query;       /* [num_sequences, num_heads, dim], strided */
    const float *keys;        /* [num_blocks, block_size, num_kv_heads, dim] */
    const float *values;      /* the same */
    const int64_t *tables;    /* [num_sequences, table_width] */
    const int64_t *positions; /* [num_sequences], of the query tokens, whose keys and values are stored already */
    int64_t num_sequences, num_heads, num_kv_heads, dim, block_size, table_width;
    int64_t query_row_stride, query_head_stride;
    int64_t window;           /* 0 for none: else the slots above position - window are seen */
    float scale;
} Task;

typedef struct {
    int64_t sequence, kv_head, first; /* `first` of `group` query heads */
    int group;
} Heads;

static inline int64_t slot_of(const Task *t, const int64_t *table, int64_t position)
{
    return table[position / t->block_size] * t->block_size + position % t->block_size;
}

static inline void prefetch(const float *row, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += 16) __builtin_prefetch(row + d);
}

/* e^x for x <= 0, to a few units in the last place (Cephes' expf polynomial); NaN stays NaN. */
static inline float exponential(float x)
{
    x = x < -87.0f ? -87.0f : x;
    const float n = floorf(x * 1.44269504f + 0.5f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { uint32_t bits; float number; } power = {(uint32_t)((int32_t)n + 127) << 23};
    return p * power.number;
}

/* Query heads of one sequence that share a KV head. Inlined into callers that know `dim`, so that its loops unroll. */
static ALWAYS_INLINE void attend_dim(const Task *t, const Heads *h, const int64_t dim)
{
    const int64_t slot_stride = t->num_kv_heads * dim;
    const int64_t *table = t->tables + h->sequence * t->table_width;
    const int64_t last = t->positions[h->sequence];
    const int group = h->group;
    float query[MAX_GROUP][MAX_DIM], sum[MAX_GROUP][MAX_DIM], scores[MAX_GROUP][TILE];
    float highest[MAX_GROUP], total[MAX_GROUP];

    for (int g = 0; g < group; g++) {
        const float *row = t->query + h->sequence * t->query_row_stride + (h->first + g) * t->query_head_stride;
        for (int64_t d = 0; d < dim; d++) {
            query[g][d] = row[d] * t->scale;
            sum[g][d] = 0;
        }
        highest[g] = -INFINITY;
        total[g] = 0;
    }
    int64_t position = t->window && last >= t->window ? last - t->window + 1 : 0;
    while (position <= last) {
        const int64_t slot = position % t->block_size;
        int64_t count = t->block_size - slot;
        if (count > last + 1 - position) count = last + 1 - position;
        if (count > TILE) count = TILE;
        const int64_t offset = slot_of(t, table, position) * slot_stride + h->kv_head * dim;
        const float *restrict key = t->keys + offset, *restrict value = t->values + offset;
        position += count;

        for (int64_t s = 0; s < count; s++) {
            prefetch(value + s * slot_stride, dim);
            for (int g = 0; g < group; g++) {
                float dot = 0;
                for (int64_t d = 0; d < dim; d++) dot += query[g][d] * key[s * slot_stride + d];
                scores[g][s] = dot;
            }
        }
        if (position <= last) {
            const float *next = t->keys + slot_of(t, table, position) * slot_stride + h->kv_head * dim;
            for (int64_t s = 0; s < count; s++) prefetch(next + s * slot_stride, dim);
        }
        for (int g = 0; g < group; g++) {
            float tile_highest = highest[g];
            for (int64_t s = 0; s < count; s++)
                tile_highest = scores[g][s] > tile_highest ? scores[g][s] : tile_highest;
            const float shrink = exponential(highest[g] - tile_highest);
            float tile_total = 0;
            for (int64_t s = 0; s < count; s++) {
                scores[g][s] = exponential(scores[g][s] - tile_highest);
                tile_total += scores[g][s];
            }
            highest[g] = tile_highest;
            total[g] = total[g] * shrink + tile_total;
            float *restrict into = sum[g];
            for (int64_t d = 0; d < dim; d++) into[d] *= shrink;
            for (int64_t s = 0; s < count; s++)
                for (int64_t d = 0; d < dim; d++) into[d] += scores[g][s] * value[s * slot_stride + d];
        }
    }
    for (int g = 0; g < group; g++) {
        float *row = t->output + (h->sequence * t->num_heads + h->first + g) * dim;
        for (int64_t d = 0; d < dim; d++) row[d] = sum[g][d] / total[g];
    }
}

EACH_CPU
static void attend(const Task *t, const Heads *h)
{
    switch (t->dim) {
    case 32: attend_dim(t, h, 32); break;
    case 64: attend_dim(t, h, 64); break;
    case 128: attend_dim(t, h, 128); break;
    default: attend_dim(t, h, t->dim);
    }
}

static void attend_all(const Task *t, int num_threads)
{
    const int64_t per_kv_head = t->num_heads / t->num_kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (num_threads > 1)
    for (int64_t item = 0; item < t->num_sequences * t->num_kv_heads; item++) {
        Heads h = {.sequence = item / t->num_kv_heads, .kv_head = item % t->num_kv_heads};
        for (int64_t done = 0; done < per_kv_head; done += h.group) {
            h.first = h.kv_head * per_kv_head + done;
            h.group = per_kv_head - done < MAX_GROUP ? (int)(per_kv_head - done) : MAX_GROUP;
            attend(t, &h);
        }
    }
}

static PyObject *decode_attention(PyObject *self, PyObject *arguments)
{
    Task t;
    unsigned long long output, query, keys, values, tables, positions;
    long long num_sequences, num_heads, num_kv_heads, dim, block_size, table_width, row_stride, head_stride, window;
    double scale;
    int num_threads;
    if (!PyArg_ParseTuple(arguments, "KKKKKKLLLLLLLLLdi", &output, &query, &keys, &values, &tables, &positions,
                          &num_sequences, &num_heads, &num_kv_heads, &dim, &block_size, &table_width, &row_stride,
                          &head_stride, &window, &scale, &num_threads))
        return NULL;
    t = (Task){
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
        .scale = (float)scale,
    };
    if (t.dim > MAX_DIM) {
        PyErr_SetString(PyExc_ValueError, "heads of more than 256 numbers are not supported");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    attend_all(&t, num_threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"decode_attention", decode_attention, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_cpu", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__cpu(void) { return PyModule_Create(&module); }
