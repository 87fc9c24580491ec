/* The turns of the asyncio loop, on CPython.
 *
 * A handle that is ready stands in a ring. libuv calls a turn after a poll: it calls the handles that
 * stand there when it begins, in their order, as a turn of asyncio's loop does. Between two callbacks
 * no Python runs, so that no signal handler raises there.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

/* -- the ring */

static int grow(uvb_scheduler *scheduler) {
  const size_t room = scheduler->room == 0 ? 64 : 2 * scheduler->room;
  PyObject **ring = malloc(room * sizeof *ring);

  if (ring == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < scheduler->count; i++)
    ring[i] = scheduler->ring[(scheduler->first + i) & (scheduler->room - 1)];
  free(scheduler->ring);
  scheduler->ring = ring;
  scheduler->room = room;
  scheduler->first = 0;
  return 0;
}

int uvb_make_ready(uvb_scheduler *scheduler, PyObject *handle) {
  if (scheduler->count == scheduler->room && grow(scheduler) != 0)
    return -1;
  Py_INCREF(handle);
  scheduler->ring[(scheduler->first + scheduler->count++) & (scheduler->room - 1)] = handle;
  return 0;
}

/* The first, whose reference the caller gets. */
PyObject *uvb_take_ready(uvb_scheduler *scheduler) {
  PyObject *handle = scheduler->ring[scheduler->first];

  scheduler->first = (scheduler->first + 1) & (scheduler->room - 1);
  scheduler->count--;
  return handle;
}

void uvb_ready_clear(uvb_scheduler *scheduler) {
  while (scheduler->count > 0)
    Py_DECREF(uvb_take_ready(scheduler));
}

/* -- turns */

void uvb_scheduler_wake(uvb_scheduler *scheduler) {
  if (!scheduler->woken && scheduler->core != NULL && !scheduler->core->half.loop->closed) {
    uvb_loop_later(scheduler->core->half.loop);
    scheduler->woken = 1;
  }
}

int uvb_scheduler_woken(uvb_handle *handle) {
  uvb_scheduler *scheduler = (uvb_scheduler *)((uvb_core *)handle->loop->core)->scheduler;

  if (scheduler == NULL || scheduler->wakeup != handle->core)
    return 0;
  uvb_scheduler_wake(scheduler);
  return 1;
}

int uvb_scheduler_debug(PyObject *loop) { return ((uvb_scheduler *)loop)->debug; }

/* Take the exception that is set. */
static PyObject *fetch(void) {
  PyObject *type, *value, *traceback;

  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
}

/* As the `except` of asyncio's Handle._run. */
int uvb_scheduler_failed(PyObject *loop, PyObject *handle) {
  PyObject *exception, *handled, *result;

  if (loop == NULL || PyErr_ExceptionMatches(PyExc_SystemExit) ||
      PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
    return -1;
  exception = fetch();
  handled = PyErr_GetHandledException();
  PyErr_SetHandledException(exception);
  result = PyObject_CallMethod(loop, "_callback_failed", "OO", handle, exception);
  PyErr_SetHandledException(handled);
  Py_XDECREF(handled);
  Py_XDECREF(exception);
  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

/* Of asyncio's own class, as in debug mode or of a signal. */
static int run_other(PyObject *handle) {
  PyObject *cancelled = PyObject_GetAttrString(handle, "_cancelled"), *result = NULL;
  int is = cancelled == NULL ? -1 : PyObject_IsTrue(cancelled);

  Py_XDECREF(cancelled);
  if (is == 0)
    result = PyObject_CallMethod(handle, "_run", NULL);
  Py_XDECREF(result);
  return is > 0 || result != NULL ? 0 : -1;
}

static int run_ready(uvb_scheduler *scheduler) {
  int err = 0;

  for (size_t left = scheduler->count; err == 0 && left > 0 && scheduler->count > 0; left--) {
    PyObject *handle = uvb_take_ready(scheduler);
    uvb_call *call = uvb_call_of(handle);
    if (call == NULL)
      err = run_other(handle);
    else if (!call->cancelled)
      err = uvb_call_run(handle);
    Py_DECREF(handle);
  }
  return err;
}

static int run_in_debug_mode(uvb_scheduler *scheduler) {
  PyObject *result = PyObject_CallMethod((PyObject *)scheduler, "_debug_turn", NULL);

  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

static int run_turn(uvb_scheduler *scheduler, int early) {
  scheduler->woken = 1;
  if (!early && (scheduler->timers > 0 || scheduler->due) && uvb_timers_turn(scheduler) != 0)
    return -1;
  if ((scheduler->debug ? run_in_debug_mode : run_ready)(scheduler) != 0)
    return -1;
  if (scheduler->core == NULL) /* the last of them has closed the loop */
    return 0;
  if (scheduler->stopping)
    uv_stop(&scheduler->core->half.loop->uv);
  scheduler->woken = scheduler->count > 0;
  return uvb_timers_start(scheduler);
}

/* The callbacks that the loop below has waiting. */
static int run_later(uvb_scheduler *scheduler, int early) {
  PyObject *result = PyObject_CallMethod(scheduler->core->object, "_run_later", "i", early);

  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

/* Have run() return and raise the exception that is set: no Python runs meanwhile, which a signal
 * handler could cut off. */
static void stop_with_exception(uvb_scheduler *scheduler) {
  PyObject *exception = fetch();
  PyObject *result = PyObject_CallMethod(scheduler->failures, "append", "O", exception);

  if (result == NULL)
    PyErr_WriteUnraisable(scheduler->failures);
  Py_XDECREF(result);
  Py_XDECREF(exception);
  if (scheduler->core != NULL)
    uv_stop(&scheduler->core->half.loop->uv);
}

static int turn(uvb_scheduler *scheduler, int early) {
  if (scheduler->opened && PyObject_Size(scheduler->failures) > 0)
    return 1; /* run() is about to raise, the rest is the next one's */
  if (PyObject_Size(scheduler->later) > 0 && run_later(scheduler, early) != 0)
    return 1;
  if (scheduler->opened && scheduler->core != NULL) {
    if (run_turn(scheduler, early) != 0) {
      stop_with_exception(scheduler);
      return 1;
    }
    if (scheduler->woken || scheduler->due)
      return 1;
  }
  return PyObject_Size(scheduler->later) > 0;
}

int uvb_scheduler_turn(PyObject *self, int early) {
  int more;

  Py_INCREF(self); /* a callback may close the loop */
  more = turn((uvb_scheduler *)self, early);
  Py_DECREF(self);
  return more;
}

#endif
