/* The product of float32 rows and an int8 weight: see int8_rows.c. */
#include <stdint.h>

#include "few_rows.h"

enum { INT8_BLOCK = 64 }; /* inputs of a row that share a scale */

/* Instruction sets that this is written for, the best last. */
enum { INT8_NONE, INT8_AVX2, INT8_AVX_VNNI, INT8_AVX512_VNNI };

typedef struct {
    Product product;        /* of these: output, input, bias, term, num_rows, num_inputs, num_outputs, after */
    const uint8_t *numbers; /* [ceil(num_outputs / 64), num_groups, 64, group]: weights plus 128 */
    const float *scales;    /* [num_outputs] */
    int64_t num_groups;     /* of inputs, in whole blocks; a group is 2 for AVX2, else 4 */
    int kind;               /* one of the instruction sets */
} Int8Product;

/* The best of them that this CPU has. */
int int8_kind(void);

/* False where there is no memory. */
int int8_rows(const Int8Product *product, int num_threads);
