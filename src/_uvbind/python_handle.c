/* The handles of scheduled calls, on CPython: asyncio's Handle, TimerHandle and, since Python 3.14,
 * _ThreadSafeHandle, by inheritance.
 *
 * asyncio's classes keep their fields in slots. A handle of ours keeps its own behind them, at an
 * offset that is read when the types are made, since it differs between versions of Python. Its
 * attributes have the names of asyncio's slots and hide them, so that asyncio's methods (repr,
 * comparison, when) work on ours. One argument is kept as it is, several in a tuple.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

enum { TUPLE = 2 }; /* in `count`: `arguments` is a tuple */

static PyTypeObject *handle_type, *timer_type, *threadsafe_type, *context_type;
static Py_ssize_t handle_offset, timer_offset, threadsafe_offset;
static PyObject *copy_context, *context_run; /* of contextvars */

uvb_call *uvb_call_of(PyObject *handle) {
  if (Py_TYPE(handle) == handle_type)
    return (uvb_call *)((char *)handle + handle_offset);
  if (Py_TYPE(handle) == timer_type)
    return (uvb_call *)((char *)handle + timer_offset);
  if (Py_TYPE(handle) == threadsafe_type)
    return (uvb_call *)((char *)handle + threadsafe_offset);
  return NULL;
}

static PyObject *new_reference(PyObject *object) {
  Py_XINCREF(object);
  return object;
}

PyObject *uvb_new_call(int kind, PyObject *loop, PyObject *const *args, Py_ssize_t count,
                       PyObject *context) {
  PyTypeObject *type = kind == UVB_TIMER ? timer_type : handle_type;
  PyObject *self, *tuple = NULL;
  uvb_call *call;

  if (count > TUPLE) {
    tuple = PyTuple_New(count - 1);
    if (tuple == NULL)
      return NULL;
    for (Py_ssize_t i = 1; i < count; i++)
      PyTuple_SetItem(tuple, i - 1, new_reference(args[i]));
  }
  context = context == NULL || context == Py_None ? PyObject_CallNoArgs(copy_context)
                                                  : new_reference(context);
  if (kind == UVB_THREADSAFE && threadsafe_type != NULL)
    type = threadsafe_type;
  self = context == NULL ? NULL : PyType_GenericAlloc(type, 0);
  if (self == NULL) {
    Py_XDECREF(context);
    Py_XDECREF(tuple);
    return NULL;
  }
  call = uvb_call_of(self);
  call->context = context;
  call->loop = new_reference(loop);
  call->callback = new_reference(args[0]);
  call->arguments = tuple != NULL ? tuple : count == 2 ? new_reference(args[1]) : NULL;
  call->count = tuple != NULL ? TUPLE : (int)count - 1;
  return self;
}

/* -- what the garbage collector asks */

static int traverse(PyObject *self, visitproc visit, void *arg) {
  uvb_call *call = uvb_call_of(self);

  Py_VISIT(Py_TYPE(self));
  Py_VISIT(call->callback);
  Py_VISIT(call->arguments);
  Py_VISIT(call->context);
  Py_VISIT(call->loop);
  Py_VISIT(call->repr);
  Py_VISIT(call->when_object);
  return 0;
}

static void forget(PyObject **place) {
  PyObject *before = *place;
  *place = NULL; /* first: the object that goes may run any code */
  Py_XDECREF(before);
}

static int clear(PyObject *self) {
  uvb_call *call = uvb_call_of(self);

  forget(&call->callback);
  call->count = 0;
  forget(&call->arguments);
  forget(&call->context);
  forget(&call->loop);
  forget(&call->repr);
  forget(&call->when_object);
  return 0;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  PyObject_ClearWeakRefs(self);
  clear(self);
  PyObject_GC_Del(self);
  Py_DECREF((PyObject *)type);
}

/* -- running */

static PyObject *arguments_of(const uvb_call *call) {
  if (call->count == TUPLE)
    return new_reference(call->arguments);
  return call->count == 0 ? PyTuple_New(0) : PyTuple_Pack(1, call->arguments);
}

/* context.run(callback, *arguments) for a context that is not contextvars', or many arguments. */
static PyObject *run_any(PyObject *context, PyObject *callback, PyObject *arguments) {
  PyObject *run = PyObject_GetAttrString(context, "run"), *first, *all = NULL, *result = NULL;

  first = run == NULL ? NULL : PyTuple_Pack(1, callback);
  if (first != NULL)
    all = PySequence_Concat(first, arguments);
  if (all != NULL)
    result = PyObject_Call(run, all, NULL);
  Py_XDECREF(all);
  Py_XDECREF(first);
  Py_XDECREF(run);
  return result;
}

static PyObject *invoke(const uvb_call *call) {
  /* The callback may cancel its handle, which then forgets these. */
  PyObject *callback = new_reference(call->callback == NULL ? Py_None : call->callback);
  PyObject *arguments = call->count == 1 ? new_reference(call->arguments) : arguments_of(call);
  PyObject *context = new_reference(call->context), *result = NULL;
  int plain = context != NULL && Py_TYPE(context) == context_type;

  if (arguments == NULL || context == NULL)
    ;
  else if (plain && call->count == 0)
    result = PyObject_CallFunctionObjArgs(context_run, context, callback, NULL);
  else if (plain && call->count == 1)
    result = PyObject_CallFunctionObjArgs(context_run, context, callback, arguments, NULL);
  else if (plain && PyTuple_Size(arguments) == 2)
    result = PyObject_CallFunctionObjArgs(context_run, context, callback,
                                          PyTuple_GetItem(arguments, 0),
                                          PyTuple_GetItem(arguments, 1), NULL);
  else {
    PyObject *tuple = arguments_of(call);
    if (tuple != NULL)
      result = run_any(context, callback, tuple);
    Py_XDECREF(tuple);
  }
  Py_XDECREF(context);
  Py_XDECREF(arguments);
  Py_DECREF(callback);
  return result;
}

static int run(PyObject *self) {
  uvb_call *call = uvb_call_of(self);
  PyObject *result = invoke(call);

  Py_XDECREF(result);
  return result != NULL ? 0 : uvb_scheduler_failed(call->loop, self);
}

int uvb_call_run(PyObject *self) {
  return Py_TYPE(self) == threadsafe_type ? uvb_run_guarded(self, run) : run(self);
}

static PyObject *run_method(PyObject *self, PyObject *none) {
  (void)none;
  if (uvb_call_run(self) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* -- attributes */

static PyObject *cancel(PyObject *self, PyObject *none) {
  uvb_call *call = uvb_call_of(self);
  (void)none;

  if (uvb_wait_guarded(self) != 0)
    return NULL;
  if (!call->cancelled) {
    if (call->scheduled)
      uvb_scheduler_timer_cancelled(call->loop);
    call->cancelled = 1;
    if (call->loop != NULL && uvb_scheduler_debug(call->loop) && call->repr == NULL) {
      PyObject *repr = PyObject_Repr(self);
      if (repr == NULL)
        return NULL;
      call->repr = repr;
    }
    forget(&call->callback);
    call->count = 0;
    forget(&call->arguments);
  }
  Py_RETURN_NONE;
}

static PyObject *is_cancelled(PyObject *self, void *none) {
  (void)none;
  return PyBool_FromLong(uvb_call_of(self)->cancelled);
}

static PyObject *cancelled(PyObject *self, PyObject *none) {
  return uvb_wait_guarded(self) == 0 ? is_cancelled(self, none) : NULL;
}

static PyObject *get_arguments(PyObject *self, void *closure) {
  uvb_call *call = uvb_call_of(self);
  (void)closure;
  if (call->callback == NULL)
    Py_RETURN_NONE;
  return arguments_of(call);
}

static PyObject *get_scheduled(PyObject *self, void *closure) {
  (void)closure;
  return PyBool_FromLong(uvb_call_of(self)->scheduled);
}

static PyObject *get_when(PyObject *self, void *closure) {
  uvb_call *call = uvb_call_of(self);
  (void)closure;
  return call->when_object != NULL ? new_reference(call->when_object)
                                   : PyFloat_FromDouble(call->when);
}

static PyObject *get_none(PyObject *self, void *closure) {
  (void)self;
  (void)closure;
  Py_RETURN_NONE;
}

/* One of the objects, by its offset in the struct. */
static PyObject *get_object(PyObject *self, void *offset) {
  PyObject *object = *(PyObject **)((char *)uvb_call_of(self) + (uintptr_t)offset);
  return new_reference(object == NULL ? Py_None : object);
}

#define OBJECT(name) {"_" #name, get_object, NULL, NULL, (void *)offsetof(uvb_call, name)}

static PyGetSetDef attributes[] = {
    {"_scheduled", get_scheduled, NULL, NULL, NULL}, /* these two of timers only */
    {"_when", get_when, NULL, NULL, NULL},
    OBJECT(callback), OBJECT(context), OBJECT(loop), OBJECT(repr),
    {"_args", get_arguments, NULL, NULL, NULL},
    {"_cancelled", is_cancelled, NULL, NULL, NULL},
    {"_source_traceback", get_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"_run", run_method, METH_NOARGS, NULL},
    {"cancel", cancel, METH_NOARGS, NULL},
    {"cancelled", cancelled, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* -- the types */

/* Takes over the reference to `base`. */
static PyTypeObject *derive(const char *name, PyObject *base, PyGetSetDef *getset,
                            Py_ssize_t *offset) {
  PyType_Slot slots[] = {
      {Py_tp_dealloc, (void *)(uintptr_t)dealloc},
      {Py_tp_traverse, (void *)(uintptr_t)traverse},
      {Py_tp_clear, (void *)(uintptr_t)clear},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {0, NULL},
  };
  PyType_Spec spec = {name, 0, 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      slots};
  PyObject *size = base == NULL ? NULL : PyObject_GetAttrString(base, "__basicsize__");
  PyObject *type = NULL;
  const Py_ssize_t unit = (Py_ssize_t) _Alignof(uvb_call);

  *offset = size == NULL ? -1 : (PyLong_AsSsize_t(size) + unit - 1) / unit * unit;
  Py_XDECREF(size);
  if (*offset > 0) {
    spec.basicsize = (int)(*offset + (Py_ssize_t)sizeof(uvb_call));
    type = PyType_FromSpecWithBases(&spec, base);
  }
  Py_XDECREF(base);
  return (PyTypeObject *)type;
}

int uvb_calls_ready(PyObject *events, PyObject *contextvars) {
  PyObject *type = PyObject_GetAttrString(contextvars, "Context");

  copy_context = PyObject_GetAttrString(contextvars, "copy_context");
  context_type = (PyTypeObject *)type;
  context_run = type == NULL ? NULL : PyObject_GetAttrString(type, "run");
  if (copy_context == NULL || context_run == NULL)
    return 0;
  handle_type = derive("uvbind.aio.Handle", PyObject_GetAttrString(events, "Handle"), attributes + 2, &handle_offset);
  if (handle_type != NULL)
    timer_type = derive("uvbind.aio.TimerHandle", PyObject_GetAttrString(events, "TimerHandle"),
                        attributes, &timer_offset);
  if (handle_type == NULL || timer_type == NULL)
    return 0;
  if (!PyObject_HasAttrString(events, "_ThreadSafeHandle"))
    return 1;
  threadsafe_type =
      derive("uvbind.aio.ThreadSafeHandle", PyObject_GetAttrString(events, "_ThreadSafeHandle"),
             attributes + 2, &threadsafe_offset);
  return threadsafe_type != NULL;
}

#endif
