/* A whole decode step in one call: see decode_step.c. */
#ifndef DECODE_STEP_H
#define DECODE_STEP_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

/* decode_stack(layers, embedding, norm, head, block_size): a capsule with what stays the same from step to step. */
PyObject *decode_stack(PyObject *self, PyObject *arguments);

/* decode_step(stack, logits, ids, positions, tables, cosine, sine, num_rows, table_width, num_threads). */
PyObject *decode_step(PyObject *self, PyObject *arguments);

#endif
