/* The product of float32 rows and a weight of 8 bits. Rows are quantised in blocks of 64 inputs.
 *
 * A block x of a row becomes integers q = round(x * 127 / amax), where amax is its largest |x|; a weight's integers have
 * one scale per output. Sums of the products of a block are exact. The result is, in float32 and in the order of the
 * blocks,  (sum over blocks of amax / 127 * sum of products) * scale + bias.  So a row's result does not depend on the
 * other rows, on the threads or on the instruction set.
 *
 * Weights are read as bytes from 1 to 255, 128 above the integer: VNNI multiplies unsigned bytes by signed ones. What
 * that adds to a sum, 128 times the sum of the block's integers, is taken off at its start. Without VNNI bytes are
 * widened to 16 bits first: AVX2's own product of bytes (vpmaddubsw) saturates.
 */
#include "int8_rows.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)

#include <immintrin.h>

enum { MOST_ROWS = 6, MOST_ROWS_OF_8_LANES = 4, AHEAD = 16, OFFSET = 128, LARGEST = 127, BLOCK = INT8_BLOCK };

typedef Int8Block Block;
typedef Int8Rows Rows;

#define LANES 16
#define GROUP 4
#define SUMS __m512i
#define ALL(value) _mm512_set1_epi32(value)
#define WEIGHTS __m512i
#define READ(address) _mm512_loadu_si512(address)
#define DOT(sum, weights, value) _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(value))
#define HOLD(sum) "+v"(sum)
#define ADD(address, sum, scale)                                                                                       \
    _mm512_storeu_ps(address, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale), _mm512_loadu_ps(address)))
#define TARGET __attribute__((target("arch=x86-64-v4,avx512vnni")))
#define SPREAD spread_avx512_vnni
#define ACROSS across_avx512_vnni
#define ROWS rows_avx512_vnni
#include "int8_tile.h"

#define ADD_8(address, sum, scale)                                                                                     \
    _mm256_storeu_ps(address, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale), _mm256_loadu_ps(address)))

#define LANES 8
#define GROUP 4
#define SUMS __m256i
#define ALL(value) _mm256_set1_epi32(value)
#define WEIGHTS __m256i
#define READ(address) _mm256_loadu_si256((const __m256i *)(address))
#define DOT(sum, weights, value) _mm256_dpbusd_avx_epi32(sum, weights, _mm256_set1_epi32(value))
#define HOLD(sum) "+x"(sum)
#define ADD ADD_8
#define TARGET __attribute__((target("arch=x86-64-v3,avxvnni")))
#define SPREAD spread_avx_vnni
#define ACROSS across_avx_vnni
#define ROWS rows_avx_vnni
#include "int8_tile.h"

#define LANES 8
#define GROUP 2
#define SUMS __m256i
#define ALL(value) _mm256_set1_epi32(value)
#define WEIGHTS __m256i
#define READ(address) _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(address)))
#define DOT(sum, weights, value) _mm256_add_epi32(sum, _mm256_madd_epi16(weights, _mm256_set1_epi32(value)))
#define HOLD(sum) "+x"(sum)
#define ADD ADD_8
#define TARGET __attribute__((target("arch=x86-64-v3")))
#define SPREAD spread_avx2
#define ACROSS across_avx2
#define ROWS rows_avx2
#include "int8_tile.h"

int int8_kind(void)
{
    const int lanes = few_rows_lanes();
    if (lanes == 16 && __builtin_cpu_supports("avx512vnni")) return INT8_AVX512_VNNI;
    if (lanes && __builtin_cpu_supports("avxvnni")) return INT8_AVX_VNNI;
    return lanes ? INT8_AVX2 : INT8_NONE;
}

/* Quantise a block into bytes, or into 16 bits where `is_wide`. NaN and infinity make the scale so. */
static ALWAYS_INLINE Block quantise_block(const float *input, int64_t count, void *integers, const int is_wide)
{
    int32_t highest = 0, sum = 0; /* as integers, the bits of floats above zero order as they do, and NaN is above all */
    for (int64_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, input + i, sizeof bits);
        bits &= INT32_MAX;
        highest = bits > highest ? bits : highest;
    }
    float largest;
    memcpy(&largest, &highest, sizeof largest);
    const float inverse = largest > 0 && largest <= FLT_MAX ? LARGEST / largest : 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t rounded = (int32_t)__builtin_rintf(input[i] * inverse);
        if (is_wide) ((int16_t *)integers)[i] = (int16_t)rounded;
        else ((int8_t *)integers)[i] = (int8_t)rounded;
        sum += rounded;
    }
    return (Block){largest / LARGEST, -OFFSET * sum};
}

EACH_CPU
void int8_quantise(const Rows *q, int64_t row, const float *input, int64_t num_inputs, int kind)
{
    const int is_wide = kind == INT8_AVX2;
    for (int64_t b = 0; b < q->num_blocks; b++) {
        const int64_t start = b * BLOCK, left = num_inputs - start, count = left < BLOCK ? left : BLOCK;
        char *integers = (char *)(q->integers + row * q->num_groups) + (start << is_wide);
        Block *block = q->blocks + row * q->num_blocks + b;
        if (count < BLOCK) memset(integers + (count << is_wide), 0, (size_t)((BLOCK - count) << is_wide));
        if (is_wide) *block = quantise_block(input + start, count, integers, 1);
        else if (count == BLOCK) *block = quantise_block(input + start, BLOCK, integers, 0);
        else *block = quantise_block(input + start, count, integers, 0);
    }
}

/* Not inlined, nor `finish_row`: one order of operations, whatever the number of rows. */
EACH_CPU
static __attribute__((noinline)) void scale_row(float *restrict floats, const float *restrict scales, int64_t count)
{
    for (int64_t i = 0; i < count; i++) floats[i] *= scales[i];
}

void int8_panel(const Int8Product *p, const Rows *q, int64_t index)
{
    const Product *product = &p->product;
    const int64_t most = p->kind == INT8_AVX512_VNNI ? MOST_ROWS : MOST_ROWS_OF_8_LANES;
    const int64_t parts = (product->num_rows + most - 1) / most, group = p->kind == INT8_AVX2 ? 2 : 4;
    const int64_t column = index * PANEL_COLUMNS, left = product->num_outputs - column;
    const int64_t count = left < PANEL_COLUMNS ? left : PANEL_COLUMNS;
    const uint8_t *panel = p->numbers + index * p->num_groups * PANEL_COLUMNS * group;
    for (int64_t part = 0; part < parts; part++) {
        const int64_t first = product->num_rows * part / parts;
        const int64_t rows = product->num_rows * (part + 1) / parts - first;
        float floats[MOST_ROWS * PANEL_COLUMNS] = {0};
        if (p->kind == INT8_AVX512_VNNI) rows_avx512_vnni(floats, q, first, panel, rows, part == 0);
        else if (p->kind == INT8_AVX_VNNI) rows_avx_vnni(floats, q, first, panel, rows, part == 0);
        else rows_avx2(floats, q, first, panel, rows, part == 0);
        for (int64_t row = 0; row < rows; row++) {
            scale_row(floats + row * PANEL_COLUMNS, p->scales + column, count);
            finish_row(product, floats + row * PANEL_COLUMNS, first + row, column, count);
        }
    }
}

EACH_CPU
void int8_row(float *row, const Int8Product *p, int64_t output)
{
    const int64_t group = p->kind == INT8_AVX2 ? 2 : 4, stride = PANEL_COLUMNS * group;
    const uint8_t *numbers =
        p->numbers + output / PANEL_COLUMNS * p->num_groups * stride + output % PANEL_COLUMNS * group;
    for (int64_t i = 0; i < p->product.num_inputs; i++)
        row[i] = (float)(numbers[i / group * stride + i % group] - OFFSET) * p->scales[output];
}

int64_t int8_num_blocks(int64_t num_groups, int kind) { return num_groups / (BLOCK / (kind == INT8_AVX2 ? 2 : 4)); }

int int8_rows(const Int8Product *p, int num_threads)
{
    const Product *product = &p->product;
    const int64_t num_blocks = int8_num_blocks(p->num_groups, p->kind);
    const Rows q = {.integers = malloc((size_t)(product->num_rows * p->num_groups) * sizeof(int32_t)),
                    .blocks = malloc((size_t)(product->num_rows * num_blocks) * sizeof(Block)),
                    .num_groups = p->num_groups,
                    .num_blocks = num_blocks};
    const int done = q.integers && q.blocks;
    if (done) {
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
        {
#pragma omp for schedule(static)
            for (int64_t row = 0; row < product->num_rows; row++)
                int8_quantise(&q, row, product->input + row * product->num_inputs, product->num_inputs, p->kind);
#pragma omp for schedule(static)
            for (int64_t index = 0; index < num_panels(product); index++) int8_panel(p, &q, index);
        }
    }
    free(q.integers);
    free(q.blocks);
    return done;
}

#else

int int8_kind(void) { return INT8_NONE; }

int64_t int8_num_blocks(int64_t num_groups, int kind) { return kind ? num_groups : 0; }

void int8_quantise(const Int8Rows *rows, int64_t row, const float *input, int64_t num_inputs, int kind)
{
    (void)rows, (void)row, (void)input, (void)num_inputs, (void)kind;
}

void int8_row(float *row, const Int8Product *weight, int64_t output)
{
    (void)row, (void)weight, (void)output;
}

void int8_panel(const Int8Product *product, const Int8Rows *rows, int64_t index)
{
    (void)product, (void)rows, (void)index;
}

int int8_rows(const Int8Product *product, int num_threads)
{
    (void)product;
    (void)num_threads;
    return 0;
}

#endif
