/* The product of a few rows and a packed weight: see few_rows.c. */
#ifndef FEW_ROWS_H
#define FEW_ROWS_H

#include <stdint.h>

enum { PANEL_COLUMNS = 64 };

enum { AFTER_NOTHING, AFTER_SILU, AFTER_TIMES, AFTER_PLUS };

typedef struct {
    float *output;      /* [num_rows, num_outputs] */
    const float *input; /* [num_rows, num_inputs] */
    const float *panels; /* [ceil(num_outputs / 64), padded_inputs, 64]: a weight's columns, zeros behind the last */
    const float *bias;  /* [num_outputs], or NULL */
    const float *term;  /* [num_rows, num_outputs], for AFTER_TIMES and AFTER_PLUS */
    int64_t num_rows, num_inputs, padded_inputs, num_outputs;
    int after;          /* one of the four above */
    int lanes;          /* of vectors: 16 or 8 */
} Product;

/* The floats of this CPU's vectors that this is written for: 16, 8, or 0 where there is nothing for it. */
int few_rows_lanes(void);

static inline int64_t num_panels(const Product *product)
{
    return (product->num_outputs + PANEL_COLUMNS - 1) / PANEL_COLUMNS;
}

/* The columns of one panel, of all rows. */
void few_rows_panel(const Product *product, int64_t index);

void few_rows(const Product *product, int num_threads);

/* Store `count` columns of a row from `sums` [64], with the bias and what comes after the product. */
void finish_row(const Product *product, float *sums, int64_t row, int64_t column, int64_t count);

#endif
