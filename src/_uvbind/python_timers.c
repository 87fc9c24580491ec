/* The timers of the asyncio loop's scheduler, on CPython: a heap, and one libuv timer for the first.
 *
 * A timer that is cancelled stays in the heap until its time, or until so many are cancelled that
 * asyncio would sort them out as well. Times are those of loop.time(), which a program may replace:
 * then each turn looks at the timers, as asyncio does, since libuv's clock tells nothing about it.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

#include <math.h>

enum { CANCELLED = 100 };               /* so many cancelled timers may wait for their time */
static const double LONGEST = 2147483647; /* milliseconds until the loop looks again in any case */

/* asyncio's own handles are there in debug mode only. */
static int is_cancelled(PyObject *handle) {
  uvb_call *call = uvb_call_of(handle);
  PyObject *cancelled;
  int is;

  if (call != NULL)
    return call->cancelled;
  cancelled = PyObject_GetAttrString(handle, "_cancelled");
  is = cancelled == NULL ? -1 : PyObject_IsTrue(cancelled);
  Py_XDECREF(cancelled);
  return is;
}

static int set_scheduled(PyObject *handle, int scheduled) {
  uvb_call *call = uvb_call_of(handle);

  if (call == NULL)
    return PyObject_SetAttrString(handle, "_scheduled", scheduled ? Py_True : Py_False);
  call->scheduled = scheduled;
  return 0;
}

/* Take the cancelled timers out, wherever they are. */
static int sort_out(uvb_scheduler *scheduler) {
  const size_t count = scheduler->timers;
  uvb_due *heap = scheduler->heap, *kept = malloc((count + 1) * sizeof *kept);
  size_t left = 0;
  int err = 0;

  if (kept == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  scheduler->heap = kept; /* nothing that goes below finds a heap that is half sorted */
  scheduler->heap_room = count + 1;
  for (size_t i = 0; i < count; i++)
    if (is_cancelled(heap[i].handle) == 0)
      kept[left++] = heap[i], heap[i].handle = NULL;
  for (size_t i = left / 2; i-- > 0;)
    uvb_heap_down(kept, left, i);
  scheduler->timers = left;
  scheduler->timers_cancelled = 0;
  for (size_t i = 0; i < count; i++)
    if (heap[i].handle != NULL) {
      err |= set_scheduled(heap[i].handle, 0);
      Py_DECREF(heap[i].handle);
    }
  free(heap);
  return err;
}

static int take_due(uvb_scheduler *scheduler, double now) {
  const Py_ssize_t half = (Py_ssize_t)(scheduler->timers / 2);
  int err = 0;

  scheduler->due = 0;
  if (scheduler->timers_cancelled > (half > CANCELLED ? half : CANCELLED))
    err = sort_out(scheduler);
  while (err == 0 && scheduler->timers > 0) {
    int cancelled = is_cancelled(scheduler->heap[0].handle);
    PyObject *handle;
    if (cancelled == 0 && scheduler->heap[0].when > now)
      break;
    handle = uvb_heap_pop(scheduler);
    err = cancelled < 0 ? -1 : set_scheduled(handle, 0);
    if (cancelled != 0)
      scheduler->timers_cancelled--;
    else if (err == 0)
      err = uvb_make_ready(scheduler, handle);
    Py_DECREF(handle);
  }
  return err;
}

/* In a turn, after the poll: make ready the timers that are due. */
int uvb_timers_turn(uvb_scheduler *scheduler) {
  double now = 0;
  int replaced = 0;

  if (scheduler->timers == 0 && !scheduler->due)
    return 0;
  if (uvb_read_clock(scheduler, &now, &replaced) != 0)
    return -1;
  if (replaced || scheduler->clock_replaced) { /* libuv's timer may have been set by it */
    scheduler->due = 1;
    scheduler->timer_due = INFINITY;
    scheduler->clock_replaced = replaced;
  }
  if (scheduler->due || scheduler->timers_cancelled > CANCELLED)
    return take_due(scheduler, now);
  return 0;
}

static void due_cb(uv_timer_t *timer) {
  uvb_loop *loop = ((uvb_handle *)timer->data)->loop;
  uvb_scheduler *scheduler;

  uvb_python_enter(loop);
  scheduler = (uvb_scheduler *)((uvb_core *)loop->core)->scheduler;
  if (scheduler != NULL) {
    scheduler->timer_due = INFINITY;
    scheduler->due = 1;
    uvb_scheduler_wake(scheduler);
  }
}

/* Milliseconds from libuv's idea of now until `when`; libuv has looked at the clock or is about to. */
static double delay_until(const uvb_loop *loop, double when, double now, int replaced) {
  double delay = (when - now) * 1000;
#ifdef __linux__
  if (!replaced) /* it is the clock of libuv as well */
    delay = when * 1000 - (double)uv_now(&loop->uv);
#else
  (void)loop;
  (void)replaced;
#endif
  return delay > 0 ? ceil(delay < LONGEST ? delay : LONGEST) : 0;
}

/* Have libuv wake the loop for the first timer. It may be before its time, by a millisecond or a
 * clock that was replaced: the turn sees that and starts anew. */
int uvb_timers_start(uvb_scheduler *scheduler) {
  uvb_loop *loop;
  uvb_handle *handle;
  double now = 0;
  int replaced;

  if (scheduler->timers == 0 || scheduler->heap[0].when == scheduler->timer_due ||
      scheduler->core == NULL || scheduler->timer == NULL)
    return 0;
  loop = scheduler->core->half.loop;
  handle = scheduler->timer->half.handle;
  if (loop->forked || uv_is_closing(&handle->uv.handle)) /* the turn after the fork() does it */
    return 0;
  if (uvb_read_clock(scheduler, &now, &replaced) != 0)
    return -1;
  if (scheduler->timers > 0) { /* a clock of the program's may have changed that */
    const double when = scheduler->heap[0].when;
    uv_timer_start(&handle->uv.timer, due_cb,
                   (uint64_t)delay_until(loop, when, now, replaced), 0);
    scheduler->timer_due = when;
  }
  return 0;
}

void uvb_timers_clear(uvb_scheduler *scheduler) {
  uvb_due *heap = scheduler->heap;
  const size_t count = scheduler->timers;

  scheduler->heap = NULL;
  scheduler->timers = scheduler->heap_room = 0;
  for (size_t i = 0; i < count; i++)
    Py_DECREF(heap[i].handle);
  free(heap);
}

/* -- methods */

void uvb_scheduler_timer_cancelled(PyObject *loop) {
  if (loop != NULL)
    ((uvb_scheduler *)loop)->timers_cancelled++;
}

PyObject *uvb_count_cancelled(PyObject *self, PyObject *handle) {
  PyObject *scheduled = PyObject_GetAttrString(handle, "_scheduled");
  int is = scheduled == NULL ? -1 : PyObject_IsTrue(scheduled);

  Py_XDECREF(scheduled);
  if (is < 0)
    return NULL;
  ((uvb_scheduler *)self)->timers_cancelled += is;
  Py_RETURN_NONE;
}

static int add(uvb_scheduler *scheduler, PyObject *handle, double when) {
  if (uvb_heap_push(scheduler, handle, when) != 0 || set_scheduled(handle, 1) != 0)
    return -1;
  /* A turn that comes starts libuv's timer itself. */
  if (!scheduler->woken && scheduler->core != NULL && scheduler->heap[0].handle == handle &&
      scheduler->thread == PyThread_get_thread_ident()) {
    uv_update_time(&scheduler->core->half.loop->uv); /* a callback may have taken long */
    return uvb_timers_start(scheduler);
  }
  return 0;
}

/* _add_timer(handle): a timer handle of asyncio's, in debug mode. */
PyObject *uvb_add_timer(PyObject *self, PyObject *handle) {
  PyObject *when = PyObject_GetAttrString(handle, "_when");
  double value = 0;
  int err = when == NULL || uvb_number(when, &value) != 0 ||
            add((uvb_scheduler *)self, handle, value) != 0;

  Py_XDECREF(when);
  if (err)
    return NULL;
  Py_RETURN_NONE;
}

/* `args` are the time, the callback and its arguments; `when_object` is NULL for a float. */
static PyObject *schedule(PyObject *self, double when, PyObject *when_object,
                          PyObject *const *args, Py_ssize_t count, PyObject *context) {
  PyObject *handle = uvb_new_call(UVB_TIMER, self, args + 1, count - 1, context);
  uvb_call *call;

  if (handle == NULL)
    return NULL;
  call = uvb_call_of(handle);
  call->when = when;
  Py_XINCREF(when_object);
  call->when_object = when_object;
  if (add((uvb_scheduler *)self, handle, when) != 0) {
    Py_DECREF(handle);
    return NULL;
  }
  return handle;
}

PyObject *uvb_call_at(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *context = NULL;
  double when;

  if (!scheduler->opened || scheduler->debug || count < 2 || args[0] == Py_None ||
      !uvb_scheduler_takes(count, args, names, &context))
    return uvb_scheduler_slowly(self, "_call_at_checked", args, count, names);
  if (uvb_number(args[0], &when) != 0)
    return NULL;
  return schedule(self, when, args[0], args, count, context);
}

static int is_plain_number(PyObject *object) {
  return Py_IS_TYPE(object, &PyFloat_Type) || Py_IS_TYPE(object, &PyLong_Type);
}

PyObject *uvb_call_later(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *context = NULL;
  double now = 0, delay;

  if (!scheduler->opened || scheduler->debug || count < 2 || !is_plain_number(args[0]) ||
      !uvb_scheduler_takes(count, args, names, &context) ||
      !uvb_calls_at(scheduler) || /* asyncio's calls self.call_at(), and self.time() */
      uvb_clock_is_replaced(scheduler))
    return uvb_scheduler_slowly(self, "_call_later_checked", args, count, names);
  if (uvb_plain_now(&now) != 0 || uvb_number(args[0], &delay) != 0)
    return NULL;
  return schedule(self, now + delay, NULL, args, count, context);
}

/* The handles, in the order of the heap. */
PyObject *uvb_scheduled(PyObject *self, PyObject *none) {
  uvb_scheduler *scheduler = (uvb_scheduler *)self;
  PyObject *list = PyList_New(0);
  (void)none;

  for (size_t i = 0; list != NULL && i < scheduler->timers; i++)
    if (PyList_Append(list, scheduler->heap[i].handle) != 0)
      Py_CLEAR(list);
  return list;
}

PyObject *uvb_clear_scheduled(PyObject *self, PyObject *none) {
  (void)none;
  uvb_timers_clear((uvb_scheduler *)self);
  Py_RETURN_NONE;
}

#endif
