/* Cancelling from other threads: the handles of call_soon_threadsafe() since Python 3.14, on CPython.
 *
 * As of asyncio's, cancel() and cancelled() wait while another thread runs the callback: afterwards the
 * caller knows that the callback does not run any more. asyncio has a lock in each handle. Only one
 * callback of a loop runs at a time, so here the loop has the lock.
 *
 * All of it needs the GIL, and lets it go while it waits. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

/* 0, or -1 when a signal handler raises. */
static int take(PyThread_type_lock lock, int interruptible) {
  PyLockStatus status = PyThread_acquire_lock_timed(lock, 0, 0);

  while (status != PY_LOCK_ACQUIRED) {
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(lock, -1, interruptible);
    Py_END_ALLOW_THREADS
    if (status == PY_LOCK_INTR && PyErr_CheckSignals() != 0)
      return -1;
  }
  return 0;
}

int uvb_run_guarded(PyObject *handle, int (*run)(PyObject *handle)) {
  const uvb_call *call = uvb_call_of(handle);
  PyObject *loop = call->loop;
  uvb_scheduler *scheduler = (uvb_scheduler *)loop;
  int err = 0;

  if (loop == NULL || scheduler->guarded != NULL) /* such a callback has called this one itself */
    return run(handle);
  if (scheduler->guard == NULL && (scheduler->guard = PyThread_allocate_lock()) == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  Py_INCREF(loop);
  take(scheduler->guard, 0); /* one that has waited may have it for a moment */
  if (!call->cancelled) {
    scheduler->guarded = handle;
    scheduler->guarded_in = PyThread_get_thread_ident();
    err = run(handle);
    scheduler->guarded = NULL;
  }
  PyThread_release_lock(scheduler->guard);
  Py_DECREF(loop);
  return err;
}

int uvb_wait_guarded(PyObject *handle) {
  PyObject *loop = uvb_call_of(handle)->loop;
  const uvb_scheduler *scheduler = (uvb_scheduler *)loop;
  int err;

  if (loop == NULL || scheduler->guarded != handle ||
      scheduler->guarded_in == PyThread_get_thread_ident())
    return 0;
  Py_INCREF(loop);
  err = take(scheduler->guard, 1);
  if (err == 0)
    PyThread_release_lock(scheduler->guard);
  Py_DECREF(loop);
  return err;
}

#endif
