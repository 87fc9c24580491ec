/* Calling soon: the methods of the asyncio loop that put a call into the ring, on CPython.
 *
 * In debug mode and when the loop is closed they leave the work to the Python of
 * uvbind/aio/_scheduler_fast.py, which has asyncio check it.
 *
 * All of it needs the GIL. A thread that schedules a call and finds no turn coming wakes libuv. It
 * keeps the GIL from that look until libuv is woken, and the turn takes the GIL before it looks at the
 * ring: so no wakeup is lost. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

static PyObject *context_name; /* "context" */

int uvb_scheduler_takes(Py_ssize_t count, PyObject *const *args, PyObject *names,
                        PyObject **context) {
  PyObject *name;

  if (names == NULL || PyTuple_Size(names) == 0)
    return 1;
  *context = args[count];
  name = PyTuple_GetItem(names, 0);
  return PyTuple_Size(names) == 1 &&
         (name == context_name || PyUnicode_CompareWithASCIIString(name, "context") == 0);
}

PyObject *uvb_scheduler_slowly(PyObject *self, const char *name, PyObject *const *args,
                               Py_ssize_t count, PyObject *names) {
  PyObject *method = PyObject_GetAttrString(self, name), *tuple = PyTuple_New(count),
           *keywords = PyDict_New(), *result = NULL;
  int ready = method != NULL && tuple != NULL && keywords != NULL;

  for (Py_ssize_t i = 0; ready && i < count; i++) {
    Py_INCREF(args[i]);
    PyTuple_SetItem(tuple, i, args[i]);
  }
  for (Py_ssize_t i = 0; ready && names != NULL && i < PyTuple_Size(names); i++)
    ready = PyDict_SetItem(keywords, PyTuple_GetItem(names, i), args[count + i]) == 0;
  if (ready)
    result = PyObject_Call(method, tuple, keywords);
  Py_XDECREF(keywords);
  Py_XDECREF(tuple);
  Py_XDECREF(method);
  return result;
}

static PyObject *soon(int kind, PyObject *self, PyObject *const *args, Py_ssize_t count,
                      PyObject *names) {
  PyObject *context = NULL, *handle;

  if (count < 1 || !uvb_scheduler_takes(count, args, names, &context))
    return NULL;
  handle = uvb_new_call(kind, self, args, count, context);
  if (handle != NULL && uvb_make_ready((uvb_scheduler *)self, handle) != 0)
    Py_CLEAR(handle);
  return handle;
}

PyObject *uvb_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *handle = NULL;

  if (scheduler->opened && !scheduler->debug)
    handle = soon(UVB_SOON, self, args, count, names);
  if (handle == NULL) {
    if (PyErr_Occurred())
      return NULL;
    handle = uvb_scheduler_slowly(self, "_call_soon_checked", args, count, names);
  }
  /* Not before the loop runs, which begins with a turn, and never from another thread, where
   * asyncio lets the mistake pass outside of its debug mode. */
  if (handle != NULL && !scheduler->woken && scheduler->thread == PyThread_get_thread_ident())
    uvb_scheduler_wake(scheduler);
  return handle;
}

/* A closed loop and a forked child are for Python to tell. The loop clears `wakeup` before it closes
 * the Async, and a thread has the GIL from its look at it on, so the Async is open here. */
PyObject *uvb_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                      PyObject *names) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *handle = NULL;

  if (scheduler->opened && !scheduler->debug && scheduler->wakeup != NULL &&
      !scheduler->core->half.loop->forked)
    handle = soon(UVB_THREADSAFE, self, args, count, names);
  if (handle == NULL && PyErr_Occurred())
    return NULL;
  if (handle == NULL)
    return uvb_scheduler_slowly(self, "_call_soon_threadsafe_checked", args, count, names);
  if (!scheduler->woken && scheduler->wakeup != NULL)
    uv_async_send(&scheduler->wakeup->half.handle->uv.async); /* once, until libuv has seen it */
  return handle;
}

/* _add_callback(handle): asyncio's, of a descriptor that is ready. */
PyObject *uvb_add_callback(PyObject *self, PyObject *handle) {
  uvb_call *call = uvb_call_of(handle);
  PyObject *cancelled = NULL;
  int is = call != NULL && call->cancelled;

  if (call == NULL) {
    cancelled = PyObject_GetAttrString(handle, "_cancelled");
    is = cancelled == NULL ? -1 : PyObject_IsTrue(cancelled);
    Py_XDECREF(cancelled);
  }
  if (is < 0 || (is == 0 && uvb_make_ready((uvb_scheduler *)self, handle) != 0))
    return NULL;
  Py_RETURN_NONE;
}

int uvb_soon_ready(void) {
  context_name = PyUnicode_InternFromString("context");
  return context_name != NULL;
}

#endif
