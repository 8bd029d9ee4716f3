/* What lies between the products of a step: see _cpu.c. */
#ifndef BETWEEN_H
#define BETWEEN_H

#include <stdint.h>

enum { MAX_DIM = 256 };

typedef struct {
    float *output;            /* [num_sequences, num_heads, dim] */
    const float *query;       /* [num_sequences, num_heads, dim], strided */
    const float *keys;        /* [num_blocks, block_size, num_kv_heads, dim] */
    const float *values;      /* the same */
    const int64_t *tables;    /* [num_sequences, table_width] */
    const int64_t *positions; /* [num_sequences], of the query tokens, whose keys and values are stored already */
    int64_t num_sequences, num_heads, num_kv_heads, dim, block_size, table_width;
    int64_t query_row_stride, query_head_stride;
    int64_t window;           /* 0 for none: else the slots above position - window are seen */
    const float *bias;        /* [num_heads, bias_entries], or NULL: see `bias_of` */
    int64_t bias_entries;
    int bias_is_relative;
    float scale;
} Task;

/* A thread's share of the attention of `num_threads`: called by all of a team, which waits for its end. */
void attend_share(const Task *task, int num_threads);

void normalize(float *restrict output, const float *restrict input, const float *restrict weight, int64_t dim,
               float epsilon);

/* One token's heads, in place: x * cos + (-second half, first half) * sin. */
void rotate_heads(float *restrict heads, const float *restrict cosine, const float *restrict sine, int64_t num_heads,
                  int64_t dim);

#endif
