/* A task's wait in the place of a future, on CPython: the task goes on at once, not a turn later.
 *
 * A coroutine awaits a Wait, which gives itself to the task. The task adds its callback, which is kept
 * as a handle of the scheduler until it is called. uvbind/aio/_waits.py has the same in Python.
 *
 * All of it needs the GIL. */
#include "python_waits.h"

#if UVB_HAS_EPOLL

static PyTypeObject *wait_type;

static uvb_wait *of(PyObject *self) { return (uvb_wait *)self; }

uvb_wait *uvb_new_wait(PyObject *waits, uvb_scheduler *loop, int fd, int side) {
  PyObject *self = PyType_GenericAlloc(wait_type, 0);

  if (self == NULL)
    return NULL;
  Py_INCREF(waits);
  Py_INCREF((PyObject *)loop);
  of(self)->waits = waits;
  of(self)->loop = loop;
  of(self)->fd = fd;
  of(self)->side = side;
  of(self)->blocking = 1;
  return of(self);
}

/* -- its end */

/* The handle that the task goes on by, which the caller gets; NULL: it goes on already. */
static PyObject *take_handle(uvb_wait *wait) {
  PyObject *handle = wait->handle;

  wait->handle = NULL;
  return handle;
}

int uvb_wait_ready_later(uvb_wait *wait) {
  PyObject *handle = take_handle(wait);
  int err = 0;

  if (handle == NULL)
    return 0;
  if (wait->loop->opened) {
    err = uvb_make_ready(wait->loop, handle);
    uvb_scheduler_wake(wait->loop);
  } else { /* as call_soon() of a closed loop */
    PyObject *result = PyObject_CallMethod((PyObject *)wait->loop, "_check_closed", NULL);
    err = result == NULL ? -1 : 0;
    Py_XDECREF(result);
  }
  Py_DECREF(handle);
  return err;
}

int uvb_wait_ready(uvb_wait *wait) {
  PyObject *handle;
  int err;

  if (wait->loop->debug) /* which measures each call of the loop */
    return uvb_wait_ready_later(wait);
  handle = take_handle(wait);
  err = handle == NULL ? 0 : uvb_call_run(handle);
  Py_XDECREF(handle);
  return err;
}

/* -- awaiting it */

static PyObject *await(PyObject *self) {
  Py_INCREF(self);
  return self;
}

/* The first time the task gets the wait itself; the second time the wait is over. */
static PyObject *next(PyObject *self) {
  if (of(self)->begun) {
    uvb_waits_give_up(of(self));
    return NULL;
  }
  of(self)->begun = 1;
  if (uvb_waits_begin(of(self)) != 0)
    return NULL;
  Py_INCREF(self);
  return self;
}

/* throw(exception) or throw(type, value, traceback): the coroutine is cancelled, or ends. */
static PyObject *throw_into(PyObject *self, PyObject *args) {
  PyObject *type, *value = NULL, *traceback = NULL;

  uvb_waits_give_up(of(self));
  if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback))
    return NULL;
  if (traceback == Py_None)
    traceback = NULL;
  if (value == Py_None)
    value = NULL;
  if (!PyType_Check(type)) { /* the exception itself */
    value = type;
    type = (PyObject *)Py_TYPE(value);
  }
  Py_INCREF(type);
  Py_XINCREF(value);
  Py_XINCREF(traceback);
  PyErr_Restore(type, value, traceback);
  return NULL;
}

static PyObject *close_wait(PyObject *self, PyObject *none) {
  (void)none;
  uvb_waits_give_up(of(self));
  Py_RETURN_NONE;
}

/* -- what a task asks of a future, and who looks at what tasks wait for */

static PyObject *get_loop(PyObject *self, PyObject *none) {
  (void)none;
  Py_INCREF((PyObject *)of(self)->loop);
  return (PyObject *)of(self)->loop;
}

static PyObject *add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *names) {
  PyObject *context = NULL, *call[2], *before;

  if (count != 1 || !uvb_scheduler_takes(count, args, names, &context))
    return PyErr_Format(PyExc_TypeError, "one callback is needed, and perhaps a context");
  call[0] = args[0];
  call[1] = self;
  before = of(self)->handle;
  of(self)->handle = uvb_new_call(UVB_SOON, (PyObject *)of(self)->loop, call, 2, context);
  if (of(self)->handle == NULL) {
    of(self)->handle = before;
    return NULL;
  }
  Py_XDECREF(before);
  Py_RETURN_NONE;
}

static PyObject *remove_done_callback(PyObject *self, PyObject *callback) {
  PyObject *handle = of(self)->handle, *known = handle == NULL ? NULL : uvb_call_of(handle)->callback;
  int same;

  if (known == NULL)
    return PyLong_FromLong(0);
  Py_INCREF(known); /* the comparison may run any code */
  same = PyObject_RichCompareBool(known, callback, Py_EQ);
  Py_DECREF(known);
  if (same < 0)
    return NULL;
  if (same && of(self)->handle == handle) {
    of(self)->handle = NULL;
    Py_DECREF(handle);
  }
  return PyLong_FromLong(same);
}

static int is_done(PyObject *self) { return of(self)->handle == NULL || of(self)->cancelled != NULL; }

static PyObject *done(PyObject *self, PyObject *none) {
  (void)none;
  return PyBool_FromLong(is_done(self));
}

static PyObject *cancelled(PyObject *self, PyObject *none) {
  (void)none;
  return PyBool_FromLong(of(self)->cancelled != NULL);
}

/* The exception comes from a future: asyncio's own makes it. */
static PyObject *cancel(PyObject *self, PyObject *args, PyObject *keywords) {
  static char *names[] = {"msg", NULL};
  PyObject *message = Py_None, *future, *result = NULL;

  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O", names, &message))
    return NULL;
  if (is_done(self))
    Py_RETURN_FALSE;
  future = PyObject_CallMethod((PyObject *)of(self)->loop, "create_future", NULL);
  if (future != NULL)
    result = PyObject_CallMethod(future, "cancel", "O", message);
  if (result == NULL || is_done(self)) {
    Py_XDECREF(future);
    if (result == NULL)
      return NULL;
    Py_DECREF(result);
    Py_RETURN_FALSE;
  }
  Py_DECREF(result);
  if (uvb_wait_ready_later(of(self)) != 0) {
    Py_DECREF(future);
    return NULL;
  }
  of(self)->cancelled = future;
  Py_RETURN_TRUE;
}

static PyObject *result(PyObject *self, PyObject *none) {
  (void)none;
  if (of(self)->cancelled != NULL)
    return PyObject_CallMethod(of(self)->cancelled, "result", NULL);
  Py_RETURN_NONE;
}

static PyObject *get_blocking(PyObject *self, void *none) {
  (void)none;
  return PyBool_FromLong(of(self)->blocking);
}

static int set_blocking(PyObject *self, PyObject *value, void *none) {
  int is = value == NULL ? 0 : PyObject_IsTrue(value);
  (void)none;
  if (is >= 0)
    of(self)->blocking = is;
  return is < 0 ? -1 : 0;
}

/* -- the type */

static int traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(of(self)->waits);
  Py_VISIT((PyObject *)of(self)->loop);
  Py_VISIT(of(self)->handle);
  Py_VISIT(of(self)->cancelled);
  return 0;
}

/* Not the loop and the set, which are its own until the end: they break the cycles that have them. */
static int clear(PyObject *self) {
  Py_CLEAR(of(self)->handle);
  Py_CLEAR(of(self)->cancelled);
  return 0;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  clear(self);
  Py_XDECREF(of(self)->waits);
  Py_XDECREF((PyObject *)of(self)->loop);
  ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF((PyObject *)type);
}

static PyGetSetDef attributes[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"get_loop", get_loop, METH_NOARGS, NULL},
    {"add_done_callback", (PyCFunction)(void (*)(void))add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", remove_done_callback, METH_O, NULL},
    {"done", done, METH_NOARGS, NULL},
    {"cancelled", cancelled, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"result", result, METH_NOARGS, NULL},
    {"exception", result, METH_NOARGS, NULL},
    {"throw", throw_into, METH_VARARGS, NULL},
    {"close", close_wait, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)(uintptr_t)dealloc}, {Py_tp_traverse, (void *)(uintptr_t)traverse},
    {Py_tp_clear, (void *)(uintptr_t)clear},     {Py_tp_methods, methods},
    {Py_tp_getset, attributes},                  {Py_tp_iter, (void *)(uintptr_t)await},
    {Py_tp_iternext, (void *)(uintptr_t)next},   {Py_am_await, (void *)(uintptr_t)await},
    {0, NULL},
};

static PyType_Spec spec = {"uvbind.aio.Wait", (int)sizeof(uvb_wait), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           slots};

int uvb_wait_type_ready(void) {
  if (wait_type == NULL)
    wait_type = (PyTypeObject *)PyType_FromSpec(&spec);
  return wait_type != NULL;
}

#endif
