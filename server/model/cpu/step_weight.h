/* A weight of a decode step, in the form that one of our kernels reads: see step_weight.c. */
#ifndef STEP_WEIGHT_H
#define STEP_WEIGHT_H

#include <stdint.h>

#include "int8_rows.h"

/* Forms of the numbers, as native_decode.py has them. FORM_ROWS [num_outputs, num_inputs] float32 is looked up only. */
enum { FORM_ROWS, FORM_PANELS, FORM_INT8, FORM_WIDENED };

typedef struct {
    int form;
    int kind;            /* of the instruction sets of int8_rows.h for FORM_INT8, else lanes */
    const void *numbers; /* of 8 bits, bfloat16 or float32: see `Int8Product`, `WideningProduct` and `Product` */
    const float *scales; /* [num_outputs], or NULL */
    const float *bias;   /* [num_outputs], or NULL */
    int64_t num_inputs, num_outputs;
    int64_t depth;       /* groups of inputs for FORM_INT8, padded inputs for FORM_PANELS */
} Weight;

/* The weights of one output as float32 [num_inputs]: a row of an embedding, which has no FORM_PANELS. */
void weight_row(float *row, const Weight *weight, int64_t output);

/* The columns of one panel, of all rows of the product; those of FORM_INT8 are quantised. */
void weight_panel(const Weight *weight, const Product *product, const Int8Rows *integers, int64_t index);

#endif
