/* The scheduler of the asyncio loop, on CPython: the C base of the loop's class, its type.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

#include <math.h>

/* -- the ring and libuv, for Python */

static PyObject *wake(PyObject *self, PyObject *none) {
  (void)none;
  uvb_scheduler_wake((uvb_scheduler *)self);
  Py_RETURN_NONE;
}

static PyObject *forget_turn(PyObject *self, PyObject *none) {
  (void)none;
  ((uvb_scheduler *)self)->woken = 0;
  ((uvb_scheduler *)self)->timer_due = HUGE_VAL;
  Py_RETURN_NONE;
}

static PyObject *has_ready(PyObject *self, PyObject *none) {
  (void)none;
  return PyBool_FromLong(((uvb_scheduler *)self)->count > 0);
}

/* The ready handles, in their order. */
static PyObject *list_ready(PyObject *self, PyObject *none) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *list = PyList_New(0);
  (void)none;

  for (size_t i = 0; list != NULL && i < scheduler->count; i++)
    if (PyList_Append(list, scheduler->ring[(scheduler->first + i) & (scheduler->room - 1)]) != 0)
      Py_CLEAR(list);
  return list;
}

static PyObject *make_ready(PyObject *self, PyObject *handle) {
  if (uvb_make_ready((uvb_scheduler *)self, handle) != 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *take_ready(PyObject *self, PyObject *none) {
  (void)none;
  if (((uvb_scheduler *)self)->count == 0)
    return PyErr_Format(PyExc_IndexError, "no callback is ready");
  return uvb_take_ready((uvb_scheduler *)self);
}

static PyObject *clear_ready(PyObject *self, PyObject *none) {
  (void)none;
  uvb_ready_clear((uvb_scheduler *)self);
  Py_RETURN_NONE;
}

static void set_core(uvb_core **place, PyObject *core) {
  uvb_core *before = *place;

  Py_XINCREF(core);
  *place = (uvb_core *)core;
  Py_XDECREF((PyObject *)before);
}

/* _attach(the cores of the loop, of its Timer and of its Async, and two deques of the loop's):
 * libuv calls the turns from now on. */
static PyObject *attach(PyObject *self, PyObject *args) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *core, *timer, *wakeup, *failures, *later;

  if (!PyArg_UnpackTuple(args, "_attach", 5, 5, &core, &timer, &wakeup, &failures, &later) ||
      uvb_core_loop(core) == NULL || uvb_core_handle(timer) == NULL ||
      uvb_core_handle(wakeup) == NULL)
    return NULL;
  if (scheduler->core != NULL)
    return PyErr_Format(PyExc_RuntimeError, "the scheduler has a loop already");
  scheduler->names = PyObject_GetAttrString(self, "__dict__");
  if (scheduler->names == NULL)
    return NULL;
  Py_INCREF(failures);
  Py_INCREF(later);
  scheduler->failures = failures;
  scheduler->later = later;
  scheduler->timer_due = HUGE_VAL;
  set_core(&scheduler->core, core);
  set_core(&scheduler->timer, timer);
  set_core(&scheduler->wakeup, wakeup);
  uvb_core_call((uvb_core *)core, self, NULL, NULL);
  Py_RETURN_NONE;
}

/* Threads wake libuv no more: the Async is about to be closed. */
static PyObject *detach_wakeup(PyObject *self, PyObject *none) {
  (void)none;
  set_core(&((uvb_scheduler *)self)->wakeup, NULL);
  Py_RETURN_NONE;
}

/* libuv has closed the loop. */
static PyObject *detach(PyObject *self, PyObject *none) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  (void)none;

  set_core(&scheduler->wakeup, NULL);
  set_core(&scheduler->timer, NULL);
  set_core(&scheduler->core, NULL);
  Py_RETURN_NONE;
}

/* -- the type */

static int traverse(PyObject *self, visitproc visit, void *arg) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;

  Py_VISIT(Py_TYPE(self));
  for (size_t i = 0; i < scheduler->count; i++)
    Py_VISIT(scheduler->ring[(scheduler->first + i) & (scheduler->room - 1)]);
  for (size_t i = 0; i < scheduler->timers; i++)
    Py_VISIT(scheduler->heap[i].handle);
  Py_VISIT((PyObject *)scheduler->core);
  Py_VISIT((PyObject *)scheduler->timer);
  Py_VISIT((PyObject *)scheduler->wakeup);
  Py_VISIT(scheduler->failures);
  Py_VISIT(scheduler->later);
  Py_VISIT(scheduler->names);
  return 0;
}

static int clear(PyObject *self) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;

  uvb_ready_clear(scheduler);
  uvb_timers_clear(scheduler);
  detach(self, NULL);
  Py_CLEAR(scheduler->failures);
  Py_CLEAR(scheduler->later);
  Py_CLEAR(scheduler->names);
  return 0;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  clear(self);
  free(((uvb_scheduler *)self)->ring);
  if (((uvb_scheduler *)self)->guard != NULL)
    PyThread_free_lock(((uvb_scheduler *)self)->guard);
  ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF((PyObject *)type);
}

/* asyncio's attributes that are flags: `_closed` is the opposite of `opened`. */
static int *flag(PyObject *self, void *offset) {
  return (int *)((char *)self + (uintptr_t)offset);
}

static PyObject *get_flag(PyObject *self, void *offset) {
  return PyBool_FromLong(*flag(self, offset));
}

static int set_flag(PyObject *self, PyObject *value, void *offset) {
  int is = value == NULL ? 0 : PyObject_IsTrue(value);
  if (is >= 0)
    *flag(self, offset) = is;
  return is < 0 ? -1 : 0;
}

static PyObject *get_closed(PyObject *self, void *none) {
  (void)none;
  return PyBool_FromLong(!((uvb_scheduler *)self)->opened);
}

static int set_closed(PyObject *self, PyObject *value, void *none) {
  int is = value == NULL ? 1 : PyObject_IsTrue(value);
  (void)none;
  if (is >= 0)
    ((uvb_scheduler *)self)->opened = !is;
  return is < 0 ? -1 : 0;
}

static PyObject *get_thread(PyObject *self, void *none) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  (void)none;
  if (scheduler->thread == 0)
    Py_RETURN_NONE;
  return PyLong_FromUnsignedLong(scheduler->thread);
}

static int set_thread(PyObject *self, PyObject *value, void *none) {
  unsigned long thread =
      value == NULL || value == Py_None ? 0 : PyLong_AsUnsignedLong(value);
  (void)none;
  if (thread == (unsigned long)-1 && PyErr_Occurred())
    return -1;
  ((uvb_scheduler *)self)->thread = thread;
  return 0;
}

static PyObject *get_cancelled(PyObject *self, void *none) {
  (void)none;
  return PyLong_FromSsize_t(((uvb_scheduler *)self)->timers_cancelled);
}

static int set_cancelled(PyObject *self, PyObject *value, void *none) {
  Py_ssize_t count = value == NULL ? 0 : PyLong_AsSsize_t(value);
  (void)none;
  if (count == -1 && PyErr_Occurred())
    return -1;
  ((uvb_scheduler *)self)->timers_cancelled = count;
  return 0;
}

static PyGetSetDef attributes[] = {
    {"_closed", get_closed, set_closed, NULL, NULL},
    {"_debug", get_flag, set_flag, NULL, (void *)offsetof(uvb_scheduler, debug)},
    {"_stopping", get_flag, set_flag, NULL, (void *)offsetof(uvb_scheduler, stopping)},
    {"_thread_id", get_thread, set_thread, NULL, NULL},
    {"_timer_cancelled_count", get_cancelled, set_cancelled, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* METH_FASTCALL: ISO C converts one kind of function pointer to another, not to void *. */
#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"call_soon", FASTCALL(uvb_call_soon), NULL},
    {"call_soon_threadsafe", FASTCALL(uvb_call_soon_threadsafe), NULL},
    {"call_later", FASTCALL(uvb_call_later), NULL},
    {"call_at", FASTCALL(uvb_call_at), NULL},
    {"_add_callback", uvb_add_callback, METH_O, NULL},
    {"_add_timer", uvb_add_timer, METH_O, NULL},
    {"_timer_handle_cancelled", uvb_count_cancelled, METH_O, NULL},
    {"_wake", wake, METH_NOARGS, NULL},
    {"_forget_turn", forget_turn, METH_NOARGS, NULL},
    {"_has_ready", has_ready, METH_NOARGS, NULL},
    {"_list_ready", list_ready, METH_NOARGS, NULL},
    {"_make_ready", make_ready, METH_O, NULL},
    {"_take_ready", take_ready, METH_NOARGS, NULL},
    {"_clear_ready", clear_ready, METH_NOARGS, NULL},
    {"_list_scheduled", uvb_scheduled, METH_NOARGS, NULL},
    {"_clear_scheduled", uvb_clear_scheduled, METH_NOARGS, NULL},
    {"_attach", attach, METH_VARARGS, NULL},
    {"_detach_wakeup", detach_wakeup, METH_NOARGS, NULL},
    {"_detach", detach, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)(uintptr_t)dealloc},   {Py_tp_traverse, (void *)(uintptr_t)traverse},
    {Py_tp_clear, (void *)(uintptr_t)clear},       {Py_tp_methods, methods},
    {Py_tp_getset, attributes},                    {0, NULL},
};

static PyType_Spec spec = {"uvbind.aio.Scheduler", (int)sizeof(uvb_scheduler), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots};

static PyTypeObject *scheduler_type; /* the last that was made: there is one */

int uvb_is_scheduler(PyObject *object) {
  return scheduler_type != NULL && PyObject_TypeCheck(object, scheduler_type);
}

/* scheduler_type() -> the base of the loop's class. It imports asyncio, which uvbind itself does not. */
PyObject *uvb_scheduler_type(PyObject *module, PyObject *none) {
  PyObject *events = PyImport_ImportModule("asyncio.events"), *type = NULL;
  PyObject *contextvars = PyImport_ImportModule("contextvars"),
           *time = PyImport_ImportModule("time");
  (void)module;
  (void)none;

  if (events != NULL && contextvars != NULL && time != NULL && uvb_soon_ready() &&
      uvb_calls_ready(events, contextvars))
    type = PyType_FromSpec(&spec);
  if (type != NULL && !uvb_clock_ready(time, type))
    Py_CLEAR(type);
  scheduler_type = (PyTypeObject *)type;
  Py_XDECREF(time);
  Py_XDECREF(contextvars);
  Py_XDECREF(events);
  return type;
}

#endif
