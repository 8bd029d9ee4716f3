/* A tile of a panel with vectors of LANES floats, included once for each instruction set.
 * Sums of `rows` by `vectors` vectors stay in registers; the panel is read once, from start to end where `vectors` span
 * it. The panel's next lines are fetched where `is_first`: later rows find them in the cache. */
typedef float VECTOR __attribute__((vector_size(4 * LANES)));
typedef float UNALIGNED __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline __attribute__((always_inline)) void SPREAD(float *sums, const Product *p, const float *input,
                                                       const float *panel, const int rows, const int vectors,
                                                       const int is_first)
{
    VECTOR into[MOST_ROWS][PANEL_COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) into[r][v] = (VECTOR){0};
    for (int64_t i = 0; i < p->num_inputs; i++) {
        if (is_first)
            for (int line = 0; line < PANEL_COLUMNS; line += 16)
                __builtin_prefetch(panel + (i + AHEAD) * PANEL_COLUMNS + line, 0, 3);
        for (int v = 0; v < vectors; v++) {
            const VECTOR weights = *(const UNALIGNED *)(panel + i * PANEL_COLUMNS + v * LANES);
            for (int r = 0; r < rows; r++) into[r][v] += input[r * p->num_inputs + i] * weights;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) *(UNALIGNED *)(sums + r * PANEL_COLUMNS + v * LANES) = into[r][v];
}

static inline __attribute__((always_inline)) void ACROSS(float *sums, const Product *p, const float *input,
                                                         const float *panel, const int rows, const int vectors,
                                                         const int is_first)
{
    for (int column = 0; column < PANEL_COLUMNS; column += vectors * LANES)
        if (is_first && column == 0) SPREAD(sums + column, p, input, panel + column, rows, vectors, 1);
        else SPREAD(sums + column, p, input, panel + column, rows, vectors, 0);
}
