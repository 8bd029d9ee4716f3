/* A tile of a panel, included once for each instruction set, which defines
 *   LANES               outputs of a vector
 *   SUMS                a vector of LANES int32
 *   WEIGHTS             what READ makes of the weights of LANES outputs and one group of inputs at an address
 *   DOT(sum, w, value)  adds to each lane the group's products; `value` is a row's group, its four bytes as one int32
 * Sums of `rows` by `vectors` vectors stay in registers. The panel's next lines are fetched where `is_first`. */
static ALWAYS_INLINE TARGET void SPREAD(int32_t *sums, const int32_t *input, int64_t num_groups, const uint8_t *panel,
                                        const int rows, const int vectors, const int is_first)
{
    SUMS into[MOST_ROWS][PANEL_COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) into[r][v] = (SUMS){0};
    for (int64_t g = 0; g < num_groups; g++) {
        const uint8_t *group = panel + g * PANEL_COLUMNS * GROUP;
        if (is_first)
            for (int line = 0; line < PANEL_COLUMNS * GROUP; line += 64)
                __builtin_prefetch(group + AHEAD * PANEL_COLUMNS * GROUP + line, 0, 3);
        for (int v = 0; v < vectors; v++) {
            const WEIGHTS weights = READ(group + v * LANES * GROUP);
            for (int r = 0; r < rows; r++) into[r][v] = DOT(into[r][v], weights, input[r * num_groups + g]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) memcpy(sums + r * PANEL_COLUMNS + v * LANES, &into[r][v], sizeof(SUMS));
}

static ALWAYS_INLINE TARGET void ACROSS(int32_t *sums, const int32_t *input, int64_t num_groups, const uint8_t *panel,
                                        const int rows, const int vectors, const int is_first)
{
    for (int column = 0; column < PANEL_COLUMNS; column += vectors * LANES)
        SPREAD(sums + column, input, num_groups, panel + column * GROUP, rows, vectors, is_first && column == 0);
}

/* Up to six rows by a panel. */
TARGET static void ROWS(int32_t *sums, const int32_t *input, int64_t num_groups, const uint8_t *panel, int64_t rows,
                        int is_first)
{
#define CASE(count, vectors)                                                                                           \
    case count:                                                                                                        \
        if (is_first) ACROSS(sums, input, num_groups, panel, count, vectors, 1);                                       \
        else ACROSS(sums, input, num_groups, panel, count, vectors, 0);                                                \
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
        CASE(3, 4);
        CASE(4, 2);
        CASE(5, 2);
        CASE(6, 2);
#endif
    }
#undef CASE
}
#undef LANES
#undef GROUP
#undef SUMS
#undef WEIGHTS
#undef READ
#undef DOT
#undef TARGET
#undef SPREAD
#undef ACROSS
#undef ROWS
