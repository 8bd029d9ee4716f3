/* The product of a few rows and a weight in oneDNN's blocked layout, at the speed of reading the weight once.
 *
 * oneDNN packs a float32 weight [num_outputs, num_inputs] into panels of 64 outputs; within one, the 64 weights of an
 * input lie side by side. Each row of the input is spread over a panel's columns, up to six rows at a time, as many as
 * there are registers for. oneDNN's own kernels read the same panels, but for few rows not as fast as memory gives them.
 */
#include "few_rows.h"

#include <string.h>

#include "vectors.h"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)

enum { MOST_ROWS = 6, AHEAD = 16 };

#define LANES 16
#define VECTOR vector_of_16
#define UNALIGNED unaligned_16
#define SPREAD spread_16
#define ACROSS across_by_16
#include "few_rows_tile.h"
#undef LANES
#undef VECTOR
#undef UNALIGNED
#undef SPREAD
#undef ACROSS
#define LANES 8
#define VECTOR vector_of_8
#define UNALIGNED unaligned_8
#define SPREAD spread_8
#define ACROSS across_by_8
#include "few_rows_tile.h"

/* Up to six rows by a panel; 32 registers of 16 floats, or 16 of 8, hold the sums and one vector of weights. */
__attribute__((target("arch=x86-64-v4"))) static void rows_avx512(float *sums, const Product *p, const float *input,
                                                                  const float *panel, int64_t rows, int is_first)
{
#define ROWS(count)                                                                                                    \
    case count:                                                                                                        \
        if (is_first) across_by_16(sums, p, input, panel, count, 4, 1);                                                \
        else across_by_16(sums, p, input, panel, count, 4, 0);                                                         \
        break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
    }
#undef ROWS
}

__attribute__((target("arch=x86-64-v3"))) static void rows_avx2(float *sums, const Product *p, const float *input,
                                                                const float *panel, int64_t rows, int is_first)
{
#define ROWS(count, vectors)                                                                                           \
    case count:                                                                                                        \
        if (is_first) across_by_8(sums, p, input, panel, count, vectors, 1);                                           \
        else across_by_8(sums, p, input, panel, count, vectors, 0);                                                    \
        break
    switch (rows) {
        ROWS(1, 8);
        ROWS(2, 4);
        ROWS(3, 4);
        ROWS(4, 2);
        ROWS(5, 2);
        ROWS(6, 2);
    }
#undef ROWS
}

int few_rows_lanes(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return 16;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 8 : 0;
}

/* A row of a panel: the bias, then what comes after the product. Vectors of 16, of which the last may be half used. */
EACH_CPU
void finish_row(const Product *p, float *sums, int64_t row, int64_t column, int64_t count)
{
    const int64_t first = row * p->num_outputs + column;
    float bias[PANEL_COLUMNS] = {0}, term[PANEL_COLUMNS] = {0};
    if (p->bias) memcpy(bias, p->bias + column, count * sizeof(float));
    if (p->term) memcpy(term, p->term + first, count * sizeof(float));
    for (int64_t i = 0; i < PANEL_COLUMNS; i += TILE) {
        vec sum = LOAD(sums + i) + LOAD(bias + i);
        if (p->after == AFTER_SILU) {
            const vec shrunk = exponential(choose(sum > 0.0f, -sum, sum));
            sum = sum * choose(sum > 0.0f, (vec){} + 1.0f, shrunk) / (1.0f + shrunk);
        } else if (p->after == AFTER_TIMES) sum *= LOAD(term + i);
        else if (p->after == AFTER_PLUS) sum += LOAD(term + i);
        LOAD(sums + i) = sum;
    }
    memcpy(p->output + first, sums, count * sizeof(float));
}

void few_rows_panel(const Product *p, int64_t index)
{
    const int64_t parts = (p->num_rows + MOST_ROWS - 1) / MOST_ROWS;
    const float *panel = p->panels + index * p->padded_inputs * PANEL_COLUMNS;
    const int64_t column = index * PANEL_COLUMNS, left = p->num_outputs - column;
    float sums[MOST_ROWS * PANEL_COLUMNS];
    for (int64_t part = 0; part < parts; part++) {
        const int64_t first = p->num_rows * part / parts, rows = p->num_rows * (part + 1) / parts - first;
        const float *input = p->input + first * p->num_inputs;
        (p->lanes == 16 ? rows_avx512 : rows_avx2)(sums, p, input, panel, rows, part == 0);
        for (int64_t row = 0; row < rows; row++)
            finish_row(p, sums + row * PANEL_COLUMNS, first + row, column,
                       left < PANEL_COLUMNS ? left : PANEL_COLUMNS);
    }
}

void few_rows(const Product *p, int num_threads)
{
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_threads > 1)
    for (int64_t index = 0; index < num_panels(p); index++) few_rows_panel(p, index);
}

#else

int few_rows_lanes(void) { return 0; }

void few_rows_panel(const Product *product, int64_t index)
{
    (void)product;
    (void)index;
}

void few_rows(const Product *product, int num_threads)
{
    (void)product;
    (void)num_threads;
}

#endif
