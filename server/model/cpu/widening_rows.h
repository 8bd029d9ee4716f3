/* The product of float32 rows and a weight that is stored in fewer bits: see widening_rows.c. */
#include <stdint.h>

#include "few_rows.h"

typedef struct {
    Product product;     /* of these: output, input, bias, term, num_rows, num_inputs, num_outputs, after, lanes */
    const void *numbers; /* [ceil(num_outputs / 64), num_inputs, 64 / (lanes * group), lanes, group] */
    const float *scales; /* [num_outputs]; NULL for bfloat16 */
    int group;           /* numbers of 32 bits: 2 of bfloat16, or 4 integers of 8 bits */
} WideningProduct;

void widening_rows(const WideningProduct *product, int num_threads);
