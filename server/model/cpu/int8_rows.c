/* The product of float32 rows and a weight of 8 bits, each row quantised by itself.
 *
 * A row x becomes integers q = round(x * 127 / amax), where amax is the largest |x|; a weight's integers have one scale
 * per output. Sums of their products are exact in int32, so a row's result does not depend on the other rows, on the
 * threads or on the instruction set. It is  sum * (amax / 127) * scale + bias  in float32.
 *
 * Weights are read as bytes from 1 to 255, 128 above the integer: VNNI multiplies unsigned bytes by signed ones. What
 * that adds to each sum, 128 times the sum of the row's integers, is taken off at the end. Without VNNI bytes are
 * widened to 16 bits first: AVX2's own product of bytes (vpmaddubsw) saturates.
 */
#include "int8_rows.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)

#include <immintrin.h>

enum { MOST_ROWS = 6, AHEAD = 16, OFFSET = 128, LARGEST = 127 };

#define LANES 16
#define GROUP 4
#define SUMS __m512i
#define WEIGHTS __m512i
#define READ(address) _mm512_loadu_si512(address)
#define DOT(sum, weights, value) _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(value))
#define TARGET __attribute__((target("arch=x86-64-v4,avx512vnni")))
#define SPREAD spread_avx512_vnni
#define ACROSS across_avx512_vnni
#define ROWS rows_avx512_vnni
#include "int8_tile.h"

#define LANES 8
#define GROUP 4
#define SUMS __m256i
#define WEIGHTS __m256i
#define READ(address) _mm256_loadu_si256((const __m256i *)(address))
#define DOT(sum, weights, value) _mm256_dpbusd_avx_epi32(sum, weights, _mm256_set1_epi32(value))
#define TARGET __attribute__((target("arch=x86-64-v3,avxvnni")))
#define SPREAD spread_avx_vnni
#define ACROSS across_avx_vnni
#define ROWS rows_avx_vnni
#include "int8_tile.h"

#define LANES 8
#define GROUP 2
#define SUMS __m256i
#define WEIGHTS __m256i
#define READ(address) _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(address)))
#define DOT(sum, weights, value) _mm256_add_epi32(sum, _mm256_madd_epi16(weights, _mm256_set1_epi32(value)))
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

/* What the integers of a row are multiplied by, and their sum. */
typedef struct {
    float scale;
    int32_t sum;
} Row;

/* Quantise a row into bytes, or into 16 bits where `is_wide`. NaN and infinity make the scale so. */
EACH_CPU
static Row quantise(const float *input, int64_t num_inputs, void *integers, int is_wide)
{
    int32_t highest = 0; /* as integers, the bits of floats above zero order as they do, and NaN is above all */
    for (int64_t i = 0; i < num_inputs; i++) {
        int32_t bits;
        memcpy(&bits, input + i, sizeof bits);
        bits &= INT32_MAX;
        highest = bits > highest ? bits : highest;
    }
    float largest;
    memcpy(&largest, &highest, sizeof largest);
    const float inverse = largest > 0 && largest <= FLT_MAX ? LARGEST / largest : 0;
    int32_t sum = 0;
    if (is_wide) {
        int16_t *wide = integers;
        for (int64_t i = 0; i < num_inputs; i++) sum += wide[i] = (int16_t)(int32_t)__builtin_rintf(input[i] * inverse);
    } else {
        int8_t *narrow = integers;
        for (int64_t i = 0; i < num_inputs; i++) sum += narrow[i] = (int8_t)(int32_t)__builtin_rintf(input[i] * inverse);
    }
    return (Row){largest / LARGEST, sum};
}

/* A row of a panel: float32 of the integers. Not inlined: one order of operations, whatever the number of rows. */
EACH_CPU
static __attribute__((noinline)) void dequantise(float *restrict floats, const int32_t *restrict sums, Row row,
                                                 const float *restrict scales, int64_t count)
{
    for (int64_t i = 0; i < count; i++) floats[i] = (float)(sums[i] - OFFSET * row.sum) * row.scale * scales[i];
}

static void multiply_panel(const Int8Product *p, const int32_t *integers, const Row *rows, int64_t index)
{
    const Product *product = &p->product;
    const int64_t parts = (product->num_rows + MOST_ROWS - 1) / MOST_ROWS, group = p->kind == INT8_AVX2 ? 2 : 4;
    const int64_t column = index * PANEL_COLUMNS, left = product->num_outputs - column;
    const int64_t count = left < PANEL_COLUMNS ? left : PANEL_COLUMNS;
    const uint8_t *panel = p->numbers + index * p->num_groups * PANEL_COLUMNS * group;
    int32_t sums[MOST_ROWS * PANEL_COLUMNS];
    float floats[PANEL_COLUMNS] = {0};
    for (int64_t part = 0; part < parts; part++) {
        const int64_t first = product->num_rows * part / parts, after = product->num_rows * (part + 1) / parts;
        const int32_t *input = integers + first * p->num_groups;
        if (p->kind == INT8_AVX512_VNNI) rows_avx512_vnni(sums, input, p->num_groups, panel, after - first, part == 0);
        else if (p->kind == INT8_AVX_VNNI) rows_avx_vnni(sums, input, p->num_groups, panel, after - first, part == 0);
        else rows_avx2(sums, input, p->num_groups, panel, after - first, part == 0);
        for (int64_t row = first; row < after; row++) {
            dequantise(floats, sums + (row - first) * PANEL_COLUMNS, rows[row], p->scales + column, count);
            finish_row(product, floats, row, column, count);
        }
    }
}

int int8_rows(const Int8Product *p, int num_threads)
{
    const Product *product = &p->product;
    const int64_t num_panels = (product->num_outputs + PANEL_COLUMNS - 1) / PANEL_COLUMNS;
    int32_t *integers = calloc(product->num_rows * p->num_groups, sizeof(int32_t));
    Row *rows = malloc(product->num_rows * sizeof(Row));
    if (integers && rows) {
#pragma omp parallel num_threads(num_threads) if (num_threads > 1)
        {
#pragma omp for schedule(static)
            for (int64_t row = 0; row < product->num_rows; row++)
                rows[row] = quantise(product->input + row * product->num_inputs, product->num_inputs,
                                     integers + row * p->num_groups, p->kind == INT8_AVX2);
#pragma omp for schedule(static)
            for (int64_t index = 0; index < num_panels; index++) multiply_panel(p, integers, rows, index);
        }
    }
    const int done = integers && rows;
    free(integers);
    free(rows);
    return done;
}

#else

int int8_kind(void) { return INT8_NONE; }

int int8_rows(const Int8Product *product, int num_threads)
{
    (void)product;
    (void)num_threads;
    return 0;
}

#endif
