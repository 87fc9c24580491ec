/* The clock of the asyncio loop, on CPython: loop.time(), which is time.monotonic().
 *
 * Tests replace one or the other and make time jump: time() of a loop, of its class, or of asyncio's
 * own class, from which ours inherits. So whenever the scheduler needs the time it looks whether they
 * are the ones of before; a look costs less than calling them.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

#include <time.h>

static PyObject *time_names, *monotonic; /* of the time module: its names, and its own clock */
static PyObject *monotonic_name, *time_name, *call_at_name;
static PyObject *time_method, *call_at_method; /* of the scheduler's type */
static PyObject *asyncio_loop, *asyncio_time;  /* asyncio's class, and its method */

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

/* Returns time() of asyncio's class when a program has replaced it, else NULL: a new reference. */
static PyObject *other_time(void) {
  PyObject *found = PyObject_GetAttr(asyncio_loop, time_name);

  if (found == NULL)
    PyErr_Clear();
  if (found == asyncio_time)
    Py_CLEAR(found);
  return found;
}

PyObject *uvb_time(PyObject *self, PyObject *none) {
  PyObject *clock = other_time(), *result;
  double now = 0;
  (void)none;

  if (clock != NULL) {
    result = PyObject_CallFunctionObjArgs(clock, self, NULL);
    Py_DECREF(clock);
    return result;
  }
  if (!monotonic_is_replaced())
    return uvb_plain_now(&now) != 0 ? NULL : PyFloat_FromDouble(now);
  clock = PyDict_GetItemWithError(time_names, monotonic_name);
  if (clock == NULL)
    return PyErr_Format(PyExc_AttributeError, "module 'time' has no attribute 'monotonic'");
  Py_INCREF(clock);
  result = PyObject_CallNoArgs(clock);
  Py_DECREF(clock);
  return result;
}

/* Whether a method of the loop is the one of C's: neither the loop nor its class has another. */
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
  PyObject *other = other_time();

  Py_XDECREF(other);
  return other != NULL || monotonic_is_replaced() || !is_ours(scheduler, time_name, time_method);
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

  asyncio_loop = asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, "SelectorEventLoop");
  Py_XDECREF(asyncio);
  asyncio_time = asyncio_loop == NULL ? NULL : PyObject_GetAttrString(asyncio_loop, "time");
  time_names = PyModule_GetDict(time);
  Py_XINCREF(time_names);
  monotonic_name = PyUnicode_InternFromString("monotonic");
  time_name = PyUnicode_InternFromString("time");
  call_at_name = PyUnicode_InternFromString("call_at");
  if (time_names == NULL || monotonic_name == NULL || time_name == NULL || call_at_name == NULL)
    return 0;
  monotonic = PyDict_GetItemWithError(time_names, monotonic_name);
  Py_XINCREF(monotonic);
  time_method = PyObject_GetAttr(type, time_name);
  call_at_method = PyObject_GetAttr(type, call_at_name);
  return monotonic != NULL && asyncio_time != NULL && time_method != NULL && call_at_method != NULL;
}

#endif
