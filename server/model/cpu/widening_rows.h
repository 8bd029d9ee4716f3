/* The product of float32 rows and a weight that is stored in fewer bits: see widening_rows.c. */
#ifndef WIDENING_ROWS_H
#define WIDENING_ROWS_H

#include <stdint.h>

#include "few_rows.h"

typedef struct {
    Product product;     /* of these: output, input, bias, term, num_rows, num_inputs, num_outputs, after, lanes */
    const void *numbers; /* [ceil(num_outputs / 64), num_inputs, 64 / (lanes * group), lanes, group]; a group is 32 bits:
                            2 numbers of bfloat16, or 4 integers of 8 bits */
    const float *scales; /* [num_outputs]; NULL for bfloat16 */
} WideningProduct;

void widening_rows(const WideningProduct *product, int num_threads);

/* The columns of one panel, of all rows. */
void widening_panel(const WideningProduct *product, int64_t index);

/* The weights of one output as float32 [num_inputs]: a row of an embedding. */
void widening_row(float *row, const WideningProduct *weight, int64_t output);

#endif
