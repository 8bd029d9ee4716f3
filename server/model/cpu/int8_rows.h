/* The product of float32 rows and an int8 weight: see int8_rows.c. */
#ifndef INT8_ROWS_H
#define INT8_ROWS_H

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

/* What the integers of a block are multiplied by, and where their sum of products starts. */
typedef struct {
    float scale;
    int32_t start;
} Int8Block;

/* Quantised rows. */
typedef struct {
    int32_t *integers; /* [num_rows, num_groups]: each group is two integers of 16 bits for AVX2, else four of 8; zeros
                          fill the last block */
    Int8Block *blocks; /* [num_rows, num_blocks] */
    int64_t num_groups, num_blocks;
} Int8Rows;

/* The best of them that this CPU has. */
int int8_kind(void);

/* False where there is no memory. */
int int8_rows(const Int8Product *product, int num_threads);

/* Blocks of a row with so many groups. */
int64_t int8_num_blocks(int64_t num_groups, int kind);

/* Quantise `input` [num_inputs] into a row. */
void int8_quantise(const Int8Rows *rows, int64_t row, const float *input, int64_t num_inputs, int kind);

/* The columns of one panel, of all rows. */
void int8_panel(const Int8Product *product, const Int8Rows *rows, int64_t index);

/* The weights of one output as float32 [num_inputs]: a row of an embedding. */
void int8_row(float *row, const Int8Product *weight, int64_t output);

#endif
