/* A tile of a panel, included once for each instruction set, which defines
 *   LANES                     outputs of a vector
 *   SUMS                      a vector of LANES int32, and ALL(value) one with that value in every lane
 *   WEIGHTS                   what READ makes of the weights of LANES outputs and one group of inputs at an address
 *   DOT(sum, w, value)        adds to each lane the group's products; `value` is a row's group, its four bytes an int32
 *   HOLD(sum)                 an operand of assembly that stays in a register
 *   ADD(address, sum, scale)  adds scale times each lane to the floats there, in one rounding
 * Sums of a block of `rows` by `vectors` vectors stay in registers. The panel's next lines are fetched where `is_first`. */
static ALWAYS_INLINE TARGET void SPREAD(float *floats, const Rows *q, int64_t first, const uint8_t *panel,
                                        const int rows, const int vectors, const int is_first)
{
    const int32_t *input = q->integers + first * q->num_groups;
    const Block *blocks = q->blocks + first * q->num_blocks;
    for (int64_t b = 0; b < q->num_blocks; b++) {
        const int32_t *integers = input + b * (BLOCK / GROUP);
        const uint8_t *numbers = panel + b * PANEL_COLUMNS * BLOCK;
        SUMS into[MOST_ROWS][PANEL_COLUMNS / LANES];
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) into[r][v] = ALL(blocks[r * q->num_blocks + b].start);
        for (int g = 0; g < BLOCK / GROUP; g++) {
            const uint8_t *group = numbers + g * PANEL_COLUMNS * GROUP;
            if (is_first)
                for (int line = 0; line < PANEL_COLUMNS * GROUP; line += 64)
                    __builtin_prefetch(group + AHEAD * PANEL_COLUMNS * GROUP + line, 0, 3);
            for (int v = 0; v < vectors; v++) {
                const WEIGHTS weights = READ(group + v * LANES * GROUP);
                for (int r = 0; r < rows; r++) {
                    into[r][v] = DOT(into[r][v], weights, integers[r * q->num_groups + g]);
                    __asm__("" : HOLD(into[r][v])); /* GCC copies the sums otherwise, and spills some */
                }
            }
        }
        __asm__ volatile("" ::: "memory"); /* nor may it keep the floats of all blocks in registers */
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                ADD(floats + r * PANEL_COLUMNS + v * LANES, into[r][v], blocks[r * q->num_blocks + b].scale);
    }
}

static ALWAYS_INLINE TARGET void ACROSS(float *floats, const Rows *q, int64_t first, const uint8_t *panel,
                                        const int rows, const int vectors, const int is_first)
{
    for (int column = 0; column < PANEL_COLUMNS; column += vectors * LANES)
        SPREAD(floats + column, q, first, panel + column * GROUP, rows, vectors, is_first && column == 0);
}

/* Up to six rows by a panel with 32 registers, up to four with 16: more would not stay in them. */
TARGET static void ROWS(float *floats, const Rows *q, int64_t first, const uint8_t *panel, int64_t rows, int is_first)
{
#define CASE(count, vectors)                                                                                           \
    case count:                                                                                                        \
        if (is_first) ACROSS(floats, q, first, panel, count, vectors, 1);                                              \
        else ACROSS(floats, q, first, panel, count, vectors, 0);                                                       \
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
#endif
    }
#undef CASE
}
#undef LANES
#undef GROUP
#undef SUMS
#undef ALL
#undef WEIGHTS
#undef READ
#undef DOT
#undef HOLD
#undef ADD
#undef TARGET
#undef SPREAD
#undef ACROSS
#undef ROWS
