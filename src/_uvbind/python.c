/* The seam between C and Python; the files python*.c are those that know CPython from PyPy.
 *
 * On CPython what is frequent is handed to Python from here, with the C API. The first
 * callback of a loop turn takes the GIL and the turn keeps it: taking and dropping it costs
 * as much as a third of a small message. The loop lets go of it right before a poll that may
 * block; else Python's own interpreter shares it out.
 *
 * PyPy has no cheap C API but cheap callbacks: there everything goes through the crossings of
 * callbacks.h. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_enter(uvb_loop *loop) { (void)loop; }

void uvb_python_leave(uvb_loop *loop) { (void)loop; }

void uvb_python_closed(uvb_handle *handle) { uvb_on_close(handle->self); }

void uvb_python_poll(uvb_handle *handle, int status, int events) {
  uvb_on_poll(uvb_python_self(handle), status, events);
}

void uvb_python_request(uvb_request *request, int status) {
  request->done = 1;
  uvb_on_request(request->self, status);
}

void uvb_python_later(uvb_loop *loop, int early) { uvb_on_later(loop->self, early); }

void uvb_python_async(uvb_handle *handle) { uvb_on_async(uvb_python_self(handle)); }

int uvb_install(void *dict) {
  (void)dict;
  return 0;
}

#else

static PyObject *failed; /* Python's: takes an exception that left a callback */
static PyObject *complete; /* "_complete", the method of a request that is done */
static PyObject *run_later; /* "_run_later", of a loop */

/* As any thread of Python's takes the GIL again after a system call: when the interpreter is ending
 * or has ended, CPython stops the thread in here, whatever is left of its state. PyGILState_Ensure
 * would look at that first. */
void uvb_python_enter(uvb_loop *loop) {
  if (loop->thread_state != NULL) {
    PyEval_RestoreThread(loop->thread_state);
    loop->thread_state = NULL;
  }
}

void uvb_python_leave(uvb_loop *loop) {
  if (loop->thread_state == NULL)
    loop->thread_state = PyEval_SaveThread();
}

/* Hand over what a callback raised. `failed` only fails when Ctrl-C meets it, or when memory is
 * out: then both are handed over. */
void uvb_report(void) {
  PyObject *type, *value, *traceback, *done = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  for (int attempt = 0; done == NULL && attempt < 3; attempt++) {
    PyObject *second_type, *second, *second_traceback;
    done = PyObject_CallFunctionObjArgs(failed, value, NULL);
    if (done == NULL) {
      PyErr_Fetch(&second_type, &second, &second_traceback);
      PyErr_NormalizeException(&second_type, &second, &second_traceback);
      if (second != NULL)
        Py_XDECREF(PyObject_CallFunctionObjArgs(failed, second, NULL));
      Py_XDECREF(second_type);
      Py_XDECREF(second);
      Py_XDECREF(second_traceback);
    }
  }
  if (PyErr_Occurred())
    PyErr_WriteUnraisable(failed);
  Py_XDECREF(done);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
}

/* callback(object, payload, None), for a handle: it may close it, or have another callback be its. */
void uvb_hand_over(uvb_handle *handle, PyObject *payload) {
  const uvb_core *core = handle->core;
  PyObject *object = core->object, *callback = core->on_read, *result;

  Py_INCREF(object);
  Py_INCREF(callback);
  result = PyObject_CallFunctionObjArgs(callback, object, payload, Py_None, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_DECREF(callback);
  Py_DECREF(object);
}

/* Errors are left to the crossing. */
void uvb_python_poll(uvb_handle *handle, int status, int events) {
  PyObject *number;

  uvb_python_enter(handle->loop);
  if (status != 0) {
    uvb_on_poll(uvb_python_self(handle), status, events);
    return;
  }
  number = PyLong_FromLong(events);
  if (number == NULL)
    uvb_report();
  else
    uvb_hand_over(handle, number);
  Py_XDECREF(number);
}

/* handle.poll_start(events, callback) -> 0 or libuv's error: `callback` is called from now on. */
PyObject *uvb_poll_start_method(PyObject *self, PyObject *args) {
  uvb_handle *handle = uvb_core_handle(self);
  PyObject *callback;
  int events, err;

  if (handle == NULL || !PyArg_ParseTuple(args, "iO", &events, &callback))
    return NULL;
  err = handle->uv.handle.type != UV_POLL || uv_is_closing(&handle->uv.handle)
            ? UV_EINVAL
            : uvb_poll_start(handle, events);
  if (err == 0)
    uvb_core_call((uvb_core *)self, callback, NULL, NULL);
  return PyLong_FromLong(err);
}

/* A request is done: C keeps it no longer than its callback lasts. */
void uvb_python_request(uvb_request *request, int status) {
  uvb_core *core = request->core;
  PyObject *object, *kept, *result = NULL, *number;

  uvb_python_enter(request->loop);
  request->done = 1;
  object = core->object;
  kept = core->kept;
  Py_INCREF(object);
  Py_XINCREF(kept);
  uvb_core_release(core); /* and with it may go `request` */
  number = PyLong_FromLong(status);
  if (number != NULL)
    result = PyObject_CallMethodObjArgs(object, complete, number, NULL);
  if (result == NULL) {
    uvb_report();
    /* A signal handler may have raised before the callback was called; else nothing is left to do. */
    if (number != NULL)
      result = PyObject_CallMethodObjArgs(object, complete, number, NULL);
    if (number != NULL && result == NULL)
      uvb_report();
  }
  Py_XDECREF(result);
  Py_XDECREF(number);
  Py_XDECREF(kept);
  Py_DECREF(object);
}

void uvb_python_async(uvb_handle *handle) {
  uvb_python_enter(handle->loop);
  if (!uvb_scheduler_woken(handle))
    uvb_on_async(handle->self);
}

void uvb_python_later(uvb_loop *loop, int early) {
  uvb_core *core = loop->core;
  PyObject *object = core->object, *result;

  uvb_python_enter(loop);
  uvb_python_turn_ends(loop); /* that of the callbacks that libuv has called before */
  if (core->scheduler != NULL) {
    if (!uvb_scheduler_turn(core->scheduler, early))
      uvb_loop_not_later(loop);
    return;
  }
  Py_INCREF(object);
  result = PyObject_CallMethodObjArgs(object, run_later, early ? Py_True : Py_False, NULL);
  if (result == NULL)
    uvb_report();
  else if (result == Py_False)
    uvb_loop_not_later(loop);
  Py_XDECREF(result);
  Py_DECREF(object);
}

static PyMethodDef builtins[] = {
    {"loop", uvb_loop_core, METH_VARARGS, NULL},
#ifndef _WIN32
    {"receive", uvb_receive, METH_VARARGS, NULL},
    {"send", uvb_send, METH_VARARGS, NULL},
#ifdef SOCK_NONBLOCK
    {"accept", uvb_accept, METH_VARARGS, NULL},
#endif
#endif
    {"resolver", uvb_resolver, METH_VARARGS, NULL},
    {"scheduler_type", uvb_scheduler_type, METH_NOARGS, NULL},
#ifdef __linux__
    {"readiness_type", uvb_readiness_type, METH_NOARGS, NULL},
    {"waits_type", uvb_waits_type, METH_NOARGS, NULL},
#endif
};

/* Called through cffi, which has let go of the GIL. */
int uvb_install(void *dict) {
  enum { COUNT = sizeof builtins / sizeof *builtins };
  PyGILState_STATE state = PyGILState_Ensure();
  int installed = 0, ready;

  failed = PyDict_GetItemString(dict, "failed");
  Py_XINCREF(failed);
  complete = PyUnicode_InternFromString("_complete");
  run_later = PyUnicode_InternFromString("_run_later");
  ready = failed != NULL && complete != NULL && run_later != NULL && uvb_core_ready() &&
          uvb_stream_names() && uvb_writes_names();
  for (int i = 0; ready && i < COUNT; i++) {
    PyObject *function = PyCFunction_NewEx(&builtins[i], NULL, NULL);
    if (function != NULL && PyDict_SetItemString(dict, builtins[i].ml_name, function) == 0)
      installed++;
    Py_XDECREF(function);
  }
  PyErr_Clear();
  PyGILState_Release(state);
  return installed;
}

#endif
