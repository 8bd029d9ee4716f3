/* One look-up and one product of panels for the weights of a decode step, by the kernel of their form. */
#include "step_weight.h"

#include <string.h>

#include "widening_rows.h"

void weight_row(float *row, const Weight *w, int64_t output)
{
    const Product product = {.num_inputs = w->num_inputs, .lanes = w->kind};
    const Int8Product quantised = {product, w->numbers, w->scales, w->depth, w->kind};
    const WideningProduct widened = {product, w->numbers, w->scales};
    if (w->form == FORM_INT8) int8_row(row, &quantised, output);
    else if (w->form == FORM_WIDENED) widening_row(row, &widened, output);
    else memcpy(row, (const float *)w->numbers + output * w->num_inputs, (size_t)w->num_inputs * sizeof(float));
}

void weight_panel(const Weight *w, const Product *product, const Int8Rows *integers, int64_t index)
{
    const Int8Product quantised = {*product, w->numbers, w->scales, w->depth, w->kind};
    const WideningProduct widened = {*product, w->numbers, w->scales};
    if (w->form == FORM_INT8) int8_panel(&quantised, integers, index);
    else if (w->form == FORM_WIDENED) widening_panel(&widened, index);
    else few_rows_panel(product, index);
}
