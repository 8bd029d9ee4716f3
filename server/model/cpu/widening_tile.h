/* A tile of a panel, included once for each instruction set and form of numbers, which defines
 *   LANES         outputs of a vector
 *   GROUP         numbers that share 32 bits: the first GROUP vectors of a panel are the parts of one vector of integers
 *   WIDEN(w, g)   part g of a vector of integers, as floats
 * Sums of `rows` by `vectors` vectors stay in registers. Each is added up in the order of the inputs, whatever the number
 * of rows. The panel's next lines are fetched where `is_first`. */
static ALWAYS_INLINE TARGET void SPREAD(float *sums, const Product *p, const float *input, const int32_t *panel,
                                        const int rows, const int first, const int vectors, const int is_first)
{
    enum { INTEGERS = PANEL_COLUMNS / GROUP }; /* of an input */
    VECTOR into[MOST_ROWS][PANEL_COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) into[r][v] = (VECTOR){0};
    for (int64_t i = 0; i < p->num_inputs; i++, panel += INTEGERS) {
        if (is_first)
            for (int line = 0; line < INTEGERS; line += LINE) __builtin_prefetch(panel + AHEAD + line, 0, 3);
        VECTOR weights[PANEL_COLUMNS / LANES];
        for (int v = 0; v < vectors; v++) {
            const INTS integers = *(const UNALIGNED *)(panel + (first + v) / GROUP * LANES);
            weights[v] = WIDEN(integers, (first + v) % GROUP);
        }
        for (int r = 0; r < rows; r++) {
            const VECTOR number = input[r * p->num_inputs + i] - (VECTOR){0};
            for (int v = 0; v < vectors; v++) into[r][v] += number * weights[v];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) memcpy(sums + r * PANEL_COLUMNS + v * LANES, &into[r][v], sizeof(VECTOR));
}

static ALWAYS_INLINE TARGET void ACROSS(float *sums, const Product *p, const float *input, const int32_t *panel,
                                        const int rows, const int vectors, const int is_first)
{
#pragma GCC unroll 8
    for (int first = 0; first < PANEL_COLUMNS / LANES; first += vectors)
        SPREAD(sums + first * LANES, p, input, panel, rows, first, vectors, is_first && first == 0);
}

/* Up to six rows by a panel: 32 registers, or 16, hold the sums, the widened weights and a number of a row. */
TARGET static void ROWS(float *sums, const Product *p, const float *input, const int32_t *panel, int64_t rows,
                        int is_first)
{
#define CASE(count, vectors)                                                                                           \
    case count:                                                                                                        \
        if (is_first) ACROSS(sums, p, input, panel, count, vectors, 1);                                                \
        else ACROSS(sums, p, input, panel, count, vectors, 0);                                                         \
        break
    switch (rows) {
#if LANES == 16
        CASE(1, 4);
        CASE(2, 4);
        CASE(3, 4);
        CASE(4, 4);
        CASE(5, 4);
        CASE(6, 4);
#else
        CASE(1, 8);
        CASE(2, 4);
        CASE(3, 2);
        CASE(4, 2);
        CASE(5, 2);
        CASE(6, 2);
#endif
    }
#undef CASE
}
#undef GROUP
#undef WIDEN
#undef SPREAD
#undef ACROSS
#undef ROWS
