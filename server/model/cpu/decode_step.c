/* A decode step: one token of each sequence through a stack of layers of the Llama kind, and its logits.
 *
 * It does what server/model/cpu/fused_layer.py does, by the same kernels in the same order, so that the numbers are the
 * same, bit for bit. The team of threads lives from the first norm to the logits: what a thread needs of the others is
 * behind a barrier, not behind a call.
 */
#include "decode_step.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "between.h"
#include "step_weight.h"

typedef struct {
    const float *weight; /* [width], or NULL for no norm */
    float epsilon;
} Norm;

typedef struct {
    Norm before_attention, query, key, before_mlp;
    Weight projection, output, gate, up, down; /* `projection` makes queries, keys and values side by side */
    float *keys, *values;                      /* as in `Task` */
    int64_t num_heads, num_kv_heads, dim, window;
    float scale;
} Layer;

typedef struct {
    Layer *layers;
    int64_t num_layers, block_size;
    Weight embedding;
    Norm norm;
    Weight head; /* of the form and kind of the layers' weights */
} Stack;

/* A step's rows, and room for what a layer makes of them. */
typedef struct {
    const Stack *stack;
    const int64_t *ids, *positions;  /* [num_rows] */
    const int64_t *tables;           /* [num_rows, table_width] */
    const float *cosine, *sine;      /* [num_rows, dim] */
    int64_t num_rows, table_width;
    int num_threads;
    float *hidden, *normed;          /* [num_rows, hidden_size] */
    float *projected, *attended, *gated;
    Int8Rows integers;               /* of one product's input at a time */
} Step;

/* --- each of these is called by the whole team, and shares the work out ------------------------------------------- */

static void embed(const Step *s)
{
    const Weight *table = &s->stack->embedding;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < s->num_rows; row++)
        weight_row(s->hidden + row * table->num_inputs, table, s->ids[row]);
}

static Int8Rows integers_of(const Step *s, const Weight *w)
{
    return (Int8Rows){s->integers.integers, s->integers.blocks, w->depth, int8_num_blocks(w->depth, w->kind)};
}

/* Rows `input` as `w` multiplies them, normed into `normed` first where there is a norm. */
static void prepare(const Step *s, const Norm *norm, const float *input, const Weight *w)
{
    const Int8Rows integers = integers_of(s, w);
    const int is_int8 = w->form == FORM_INT8;
    if (!norm && !is_int8) return;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < s->num_rows; row++) {
        const float *numbers = input + row * w->num_inputs;
        if (norm) {
            float *normed = s->normed + row * w->num_inputs;
            normalize(normed, numbers, norm->weight, w->num_inputs, norm->epsilon);
            numbers = normed;
        }
        if (is_int8) int8_quantise(&integers, row, numbers, w->num_inputs, w->kind);
    }
}

/* Rows that are prepared, by a weight. Without a barrier: a thread has the same panels in the next product as wide. */
static void multiply(const Step *s, const Weight *w, float *output, const float *input, const float *term, int after)
{
    const Product product = {.output = output,
                             .input = input,
                             .panels = w->numbers,
                             .bias = w->bias,
                             .term = term,
                             .num_rows = s->num_rows,
                             .num_inputs = w->num_inputs,
                             .padded_inputs = w->depth,
                             .num_outputs = w->num_outputs,
                             .after = after,
                             .lanes = w->kind};
    const Int8Rows integers = integers_of(s, w);
#pragma omp for schedule(static) nowait
    for (int64_t index = 0; index < num_panels(&product); index++) weight_panel(w, &product, &integers, index);
}

static void normalize_heads(const Norm *norm, float *heads, int64_t num_heads, int64_t dim)
{
    float normed[MAX_DIM];
    if (!norm->weight) return;
    for (float *head = heads; head < heads + num_heads * dim; head += dim) {
        normalize(normed, head, norm->weight, dim, norm->epsilon);
        memcpy(head, normed, (size_t)dim * sizeof(float));
    }
}

/* Norm and rotate queries and keys, and store keys and values. */
static void place(const Step *s, const Layer *l)
{
    const int64_t width = l->num_kv_heads * l->dim, block_size = s->stack->block_size;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < s->num_rows; row++) {
        const int64_t position = s->positions[row];
        const int64_t block = s->tables[row * s->table_width + position / block_size];
        const int64_t slot = block * block_size + position % block_size;
        float *query = s->projected + row * l->projection.num_outputs, *key = query + l->num_heads * l->dim;
        normalize_heads(&l->query, query, l->num_heads, l->dim);
        normalize_heads(&l->key, key, l->num_kv_heads, l->dim);
        rotate_heads(query, s->cosine + row * l->dim, s->sine + row * l->dim, l->num_heads + l->num_kv_heads, l->dim);
        memcpy(l->keys + slot * width, key, (size_t)width * sizeof(float));
        memcpy(l->values + slot * width, key + width, (size_t)width * sizeof(float));
    }
}

static void attend_layer(const Step *s, const Layer *l)
{
    const Task task = {.output = s->attended,
                       .query = s->projected,
                       .keys = l->keys,
                       .values = l->values,
                       .tables = s->tables,
                       .positions = s->positions,
                       .num_sequences = s->num_rows,
                       .num_heads = l->num_heads,
                       .num_kv_heads = l->num_kv_heads,
                       .dim = l->dim,
                       .block_size = s->stack->block_size,
                       .table_width = s->table_width,
                       .query_row_stride = l->projection.num_outputs,
                       .query_head_stride = l->dim,
                       .window = l->window,
                       .scale = l->scale};
    attend_share(&task, s->num_threads);
}

static void compute_layer(const Step *s, const Layer *l)
{
    prepare(s, &l->before_attention, s->hidden, &l->projection);
    multiply(s, &l->projection, s->projected, s->normed, NULL, AFTER_NOTHING);
#pragma omp barrier
    place(s, l);
    attend_layer(s, l);
    prepare(s, NULL, s->attended, &l->output);
    multiply(s, &l->output, s->hidden, s->attended, s->hidden, AFTER_PLUS);
#pragma omp barrier
    prepare(s, &l->before_mlp, s->hidden, &l->gate);
    multiply(s, &l->gate, s->gated, s->normed, NULL, AFTER_SILU);
    multiply(s, &l->up, s->gated, s->normed, s->gated, AFTER_TIMES);
#pragma omp barrier
    prepare(s, NULL, s->gated, &l->down);
    multiply(s, &l->down, s->hidden, s->gated, s->hidden, AFTER_PLUS);
#pragma omp barrier
}

static void compute_step(const Step *s, float *logits)
{
#pragma omp parallel num_threads(s->num_threads) if (s->num_threads > 1)
    {
        embed(s);
        for (int64_t index = 0; index < s->stack->num_layers; index++) compute_layer(s, &s->stack->layers[index]);
        prepare(s, &s->stack->norm, s->hidden, &s->stack->head);
        multiply(s, &s->stack->head, logits, s->normed, NULL, AFTER_NOTHING);
    }
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static void grow(int64_t *most, int64_t number) { *most = number > *most ? number : *most; }

/* Compute it; false where there is no memory. */
static int run(Step *s, float *logits)
{
    const Stack *stack = s->stack;
    int64_t hidden = stack->head.num_inputs, projected = 0, attended = 0, gated = 0, depth = stack->head.depth;
    for (const Layer *l = stack->layers; l < stack->layers + stack->num_layers; l++) {
        grow(&projected, l->projection.num_outputs);
        grow(&attended, l->output.num_inputs);
        grow(&gated, l->gate.num_outputs);
        grow(&depth, l->projection.depth);
        grow(&depth, l->output.depth);
        grow(&depth, l->down.depth);
    }
    const int64_t groups = stack->head.form == FORM_INT8 ? depth : 0;
    const int64_t num_blocks = int8_num_blocks(groups, stack->head.kind);
    const int64_t floats = 2 * hidden + projected + attended + gated;
    const size_t row = (size_t)(floats + groups) * sizeof(float) + (size_t)num_blocks * sizeof(Int8Block);
    float *room = malloc((size_t)s->num_rows * row);
    if (!room) return 0;
    s->hidden = room;
    s->normed = s->hidden + s->num_rows * hidden;
    s->projected = s->normed + s->num_rows * hidden;
    s->attended = s->projected + s->num_rows * projected;
    s->gated = s->attended + s->num_rows * attended;
    s->integers.integers = (int32_t *)(s->gated + s->num_rows * gated);
    s->integers.blocks = (Int8Block *)(s->integers.integers + s->num_rows * groups);
    compute_step(s, logits);
    free(room);
    return 1;
}

/* --- the module's side ------------------------------------------------------------------------------------------- */

static const char NAME[] = "softprompt.decode_stack";

static void *at(unsigned long long address) { return (void *)(uintptr_t)address; }

static int read_norm(PyObject *object, void *norm)
{
    unsigned long long weight;
    double epsilon;
    if (!PyArg_ParseTuple(object, "Kd", &weight, &epsilon)) return 0;
    *(Norm *)norm = (Norm){at(weight), (float)epsilon};
    return 1;
}

static int read_weight(PyObject *object, void *weight)
{
    unsigned long long numbers, scales, bias;
    long long num_inputs, num_outputs, depth;
    int form, kind;
    if (!PyArg_ParseTuple(object, "iiKKKLLL", &form, &kind, &numbers, &scales, &bias, &num_inputs, &num_outputs,
                          &depth))
        return 0;
    *(Weight *)weight = (Weight){form, kind, at(numbers), at(scales), at(bias), num_inputs, num_outputs, depth};
    return 1;
}

static int read_layer(PyObject *object, Layer *l)
{
    unsigned long long keys, values;
    long long num_heads, num_kv_heads, dim, window;
    double scale;
    if (!PyArg_ParseTuple(object, "O&O&O&O&O&O&O&O&O&KKLLLLd", read_norm, &l->before_attention, read_norm, &l->query,
                          read_norm, &l->key, read_norm, &l->before_mlp, read_weight, &l->projection, read_weight,
                          &l->output, read_weight, &l->gate, read_weight, &l->up, read_weight, &l->down, &keys, &values,
                          &num_heads, &num_kv_heads, &dim, &window, &scale))
        return 0;
    l->keys = at(keys), l->values = at(values), l->scale = (float)scale;
    l->num_heads = num_heads, l->num_kv_heads = num_kv_heads, l->dim = dim, l->window = window;
    if (dim <= MAX_DIM) return 1;
    PyErr_SetString(PyExc_ValueError, "heads of more than 256 numbers are not supported");
    return 0;
}

static void destroy(PyObject *capsule)
{
    Stack *stack = PyCapsule_GetPointer(capsule, NAME);
    free(stack->layers);
    free(stack);
}

PyObject *decode_stack(PyObject *self, PyObject *arguments)
{
    Stack read = {0};
    PyObject *layers;
    long long block_size;
    if (!PyArg_ParseTuple(arguments, "O!O&O&O&L", &PyTuple_Type, &layers, read_weight, &read.embedding, read_norm,
                          &read.norm, read_weight, &read.head, &block_size))
        return NULL;
    read.num_layers = PyTuple_Size(layers), read.block_size = block_size;
    read.layers = calloc((size_t)read.num_layers, sizeof(Layer));
    Stack *stack = malloc(sizeof(Stack));
    PyObject *capsule = NULL;
    if (!stack || !read.layers) PyErr_NoMemory();
    else {
        int64_t index = 0;
        while (index < read.num_layers && read_layer(PyTuple_GetItem(layers, index), &read.layers[index])) index++;
        *stack = read;
        if (index == read.num_layers) capsule = PyCapsule_New(stack, NAME, destroy);
    }
    if (!capsule) {
        free(read.layers);
        free(stack);
    }
    return capsule;
}

PyObject *decode_step(PyObject *self, PyObject *arguments)
{
    PyObject *capsule;
    unsigned long long logits, ids, positions, tables, cosine, sine;
    long long num_rows, table_width;
    int num_threads, done;
    if (!PyArg_ParseTuple(arguments, "OKKKKKKLLi", &capsule, &logits, &ids, &positions, &tables, &cosine, &sine,
                          &num_rows, &table_width, &num_threads))
        return NULL;
    const Stack *stack = PyCapsule_GetPointer(capsule, NAME);
    if (!stack) return NULL;
    Step step = {.stack = stack,
                 .ids = at(ids),
                 .positions = at(positions),
                 .tables = at(tables),
                 .cosine = at(cosine),
                 .sine = at(sine),
                 .num_rows = num_rows,
                 .table_width = table_width,
                 .num_threads = num_threads};
    for (int64_t row = 0; row < num_rows; row++)
        if (step.ids[row] < 0 || step.ids[row] >= stack->embedding.num_outputs)
            return PyErr_Format(PyExc_IndexError, "token id %lld is none of the vocabulary", (long long)step.ids[row]);
    Py_BEGIN_ALLOW_THREADS
    done = run(&step, at(logits));
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}
