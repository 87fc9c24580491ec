/* The clock of the asyncio loop, on CPython: loop.time(), which is time.monotonic().
 *
 * Tests replace one or the other and make time jump: time() of a loop, of its class, or of asyncio's
 * own class, whose time() ours inherits. So whenever the scheduler needs the time it looks whether they
 * are the ones of before; a look costs less than calling them.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

#include <time.h>

static PyObject *time_names, *monotonic; /* of the time module: its names, and its own clock */
static PyObject *monotonic_name, *time_name, *call_at_name;
static PyObject *time_method;    /* asyncio's, which the loop's class inherits */
static PyObject *call_at_method; /* of the scheduler's type */

/* CPython's own: of the system where it is known to ask that, else by a call. */
int uvb_plain_now(double *now) {
  PyObject *result;
#ifdef __linux__
  struct timespec at;
  if (clock_gettime(CLOCK_MONOTONIC, &at) == 0) {
    *now = (double)((int64_t)at.tv_sec * 1000000000 + at.tv_nsec) / 1e9;
    return 0;
  }
#endif
  result = PyObject_CallNoArgs(monotonic);
  if (result == NULL)
    return -1;
  *now = PyFloat_AsDouble(result);
  Py_DECREF(result);
  return 0;
}

static int monotonic_is_replaced(void) {
  return PyDict_GetItemWithError(time_names, monotonic_name) != monotonic;
}

/* Whether a method of the loop is this one: neither the loop nor a class of its has another. */
static int is_ours(uvb_scheduler *scheduler, PyObject *name, PyObject *method) {
  PyObject *found = NULL;

  if (scheduler->names == NULL || PyDict_GetItemWithError(scheduler->names, name) != NULL)
    return 0;
  found = PyObject_GetAttr((PyObject *)Py_TYPE((PyObject *)scheduler), name);
  if (found == NULL)
    PyErr_Clear();
  Py_XDECREF(found);
  return found == method;
}

int uvb_number(PyObject *object, double *value) {
  *value = PyFloat_AsDouble(object);
  return *value == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int uvb_clock_is_replaced(uvb_scheduler *scheduler) {
  return monotonic_is_replaced() || !is_ours(scheduler, time_name, time_method);
}

/* loop.time(), which the program may have replaced: tells that in `replaced`. */
int uvb_read_clock(uvb_scheduler *scheduler, double *now, int *replaced) {
  PyObject *result;
  int err;

  *replaced = uvb_clock_is_replaced(scheduler);
  if (!*replaced)
    return uvb_plain_now(now);
  result = PyObject_CallMethod((PyObject *)scheduler, "time", NULL);
  err = result == NULL ? -1 : uvb_number(result, now);
  Py_XDECREF(result);
  return err;
}

/* Whether loop.call_at() is C's. */
int uvb_calls_at(uvb_scheduler *scheduler) {
  return is_ours(scheduler, call_at_name, call_at_method);
}

int uvb_clock_ready(PyObject *time, PyObject *type) {
  PyObject *asyncio = PyImport_ImportModule("asyncio");
  PyObject *loop = asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, "SelectorEventLoop");

  time_method = loop == NULL ? NULL : PyObject_GetAttrString(loop, "time");
  Py_XDECREF(loop);
  Py_XDECREF(asyncio);
  time_names = PyModule_GetDict(time);
  Py_XINCREF(time_names);
  monotonic_name = PyUnicode_InternFromString("monotonic");
  time_name = PyUnicode_InternFromString("time");
  call_at_name = PyUnicode_InternFromString("call_at");
  if (time_names == NULL || monotonic_name == NULL || time_name == NULL || call_at_name == NULL)
    return 0;
  monotonic = PyDict_GetItemWithError(time_names, monotonic_name);
  Py_XINCREF(monotonic);
  call_at_method = PyObject_GetAttr(type, call_at_name);
  return monotonic != NULL && time_method != NULL && call_at_method != NULL;
}

#endif
