/* The product of float32 rows and a weight in bfloat16 or in 8 bits, which is widened to float32 in registers.
 *
 * A step of few rows takes as long as reading the weight, so half or a quarter of the bytes take half or a quarter of
 * the time. Numbers lie in panels of 64 outputs, as in few_rows.c. Within a panel and an input, an integer of 32 bits
 * holds the numbers of two or four outputs: a shift or a mask makes a vector of floats of each. Integers of 8 bits have
 * one scale per output, which multiplies the sum. A row's result does not depend on the other rows, on the threads or on
 * the instruction set.
 */
#include "widening_rows.h"

#include <string.h>

#include "vectors.h"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)

enum { MOST_ROWS = 6, LINE = 16, AHEAD = 64 * LINE }; /* in integers of 32 bits */

/* A bfloat16 is the upper half of a float. */
#define WIDEN_BFLOAT16(integers, part) ((VECTOR)((part) ? (integers) & -0x10000 : (integers) << 16))
#define WIDEN_INT8(integers, part) __builtin_convertvector((integers) << (24 - 8 * (part)) >> 24, VECTOR)

typedef float floats_16 __attribute__((vector_size(64)));
typedef int32_t ints_16 __attribute__((vector_size(64)));
typedef int32_t unaligned_16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float floats_8 __attribute__((vector_size(32)));
typedef int32_t ints_8 __attribute__((vector_size(32)));
typedef int32_t unaligned_8 __attribute__((vector_size(32), aligned(4), may_alias));

#define TARGET __attribute__((target("arch=x86-64-v4")))
#define LANES 16
#define VECTOR floats_16
#define INTS ints_16
#define UNALIGNED unaligned_16
#define GROUP 2
#define WIDEN WIDEN_BFLOAT16
#define SPREAD spread_bfloat16_by_16
#define ACROSS across_bfloat16_by_16
#define ROWS bfloat16_rows_by_16
#include "widening_tile.h"
#define GROUP 4
#define WIDEN WIDEN_INT8
#define SPREAD spread_int8_by_16
#define ACROSS across_int8_by_16
#define ROWS int8_rows_by_16
#include "widening_tile.h"
#undef TARGET
#undef LANES
#undef VECTOR
#undef INTS
#undef UNALIGNED

#define TARGET __attribute__((target("arch=x86-64-v3")))
#define LANES 8
#define VECTOR floats_8
#define INTS ints_8
#define UNALIGNED unaligned_8
#define GROUP 2
#define WIDEN WIDEN_BFLOAT16
#define SPREAD spread_bfloat16_by_8
#define ACROSS across_bfloat16_by_8
#define ROWS bfloat16_rows_by_8
#include "widening_tile.h"
#define GROUP 4
#define WIDEN WIDEN_INT8
#define SPREAD spread_int8_by_8
#define ACROSS across_int8_by_8
#define ROWS int8_rows_by_8
#include "widening_tile.h"

typedef void Rows(float *, const Product *, const float *, const int32_t *, int64_t, int);

static int64_t group_of(const WideningProduct *w) { return w->scales ? 4 : 2; }

void widening_panel(const WideningProduct *w, int64_t index)
{
    const Product *p = &w->product;
    Rows *const by_16 = w->scales ? int8_rows_by_16 : bfloat16_rows_by_16;
    Rows *const by_8 = w->scales ? int8_rows_by_8 : bfloat16_rows_by_8;
    Rows *const multiply = p->lanes == 16 ? by_16 : by_8;
    const int64_t parts = (p->num_rows + MOST_ROWS - 1) / MOST_ROWS;
    const int64_t column = index * PANEL_COLUMNS, left = p->num_outputs - column;
    const int64_t count = left < PANEL_COLUMNS ? left : PANEL_COLUMNS;
    const int32_t *panel = (const int32_t *)w->numbers + column * p->num_inputs / group_of(w);
    float sums[MOST_ROWS * PANEL_COLUMNS];
    for (int64_t part = 0; part < parts; part++) {
        const int64_t first = p->num_rows * part / parts, rows = p->num_rows * (part + 1) / parts - first;
        multiply(sums, p, p->input + first * p->num_inputs, panel, rows, part == 0);
        for (int64_t row = 0; row < rows; row++) {
            float *of_row = sums + row * PANEL_COLUMNS;
            if (w->scales)
                for (int64_t i = 0; i < count; i++) of_row[i] *= w->scales[column + i];
            finish_row(p, of_row, first + row, column, count);
        }
    }
}

void widening_rows(const WideningProduct *w, int num_threads)
{
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t index = 0; index < num_panels(&w->product); index++) widening_panel(w, index);
}

void widening_row(float *row, const WideningProduct *w, int64_t output)
{
    const Product *p = &w->product;
    const int64_t group = group_of(w), column = output % PANEL_COLUMNS, vector = column / p->lanes;
    const int64_t within = (vector / group * p->lanes + column % p->lanes) * group + vector % group;
    const int64_t first = (output - column) * p->num_inputs + within;
    for (int64_t i = 0; i < p->num_inputs; i++) {
        const int64_t at = first + i * PANEL_COLUMNS;
        if (w->scales) row[i] = (float)((const int8_t *)w->numbers)[at] * w->scales[output];
        else {
            const uint32_t bits = (uint32_t)((const uint16_t *)w->numbers)[at] << 16;
            memcpy(row + i, &bits, sizeof bits);
        }
    }
}

#else

void widening_panel(const WideningProduct *product, int64_t index)
{
    (void)product;
    (void)index;
}

void widening_row(float *row, const WideningProduct *weight, int64_t output)
{
    (void)row, (void)weight, (void)output;
}

void widening_rows(const WideningProduct *product, int num_threads)
{
    (void)product;
    (void)num_threads;
}

#endif
