/* What the files of the asyncio loop's scheduler share, on CPython. */
#ifndef UVBIND_PYTHON_SCHEDULER_H
#define UVBIND_PYTHON_SCHEDULER_H

#include "python.h"

#ifndef PYPY_VERSION
#include <stddef.h>

/* The classes of asyncio's handles. */
enum { UVB_SOON, UVB_TIMER, UVB_THREADSAFE };

/* A scheduled call, behind the fields of asyncio's handle. */
typedef struct {
  PyObject *callback; /* NULL when it was cancelled */
  PyObject *arguments; /* by `count`: NULL, the only one, or a tuple of them */
  PyObject *context, *loop;
  PyObject *repr; /* of a call that was cancelled in debug mode */
  int count, cancelled;
  int scheduled; /* a timer that the scheduler has */
  double when;
  PyObject *when_object; /* as the caller gave it; NULL: a float of `when` */
} uvb_call;

typedef struct {
  double when;
  uint64_t sequence; /* among those of one time the first comes first */
  PyObject *handle;
} uvb_due;

/* The base of the loop's class; see python_scheduler.c. */
typedef struct {
  PyObject_HEAD
  PyObject **ring; /* the ready handles, `count` from `first` on; `room` is a power of two */
  size_t room, first, count;
  uvb_due *heap; /* the timers, the next one first */
  size_t heap_room, timers;
  uint64_t sequence;
  Py_ssize_t timers_cancelled; /* of those in the heap */
  int opened, debug, stopping; /* asyncio's _closed, _debug and _stopping */
  unsigned long thread;        /* and _thread_id */
  int woken;                   /* libuv calls a turn after the poll */
  int due;                     /* the libuv timer has fired, */
  double timer_due;            /* which is set to this time */
  int clock_replaced;
  uvb_core *core, *timer, *wakeup; /* of the loop, of its Timer, of its Async: owned */
  PyObject *failures, *later;      /* the deques of the loop below, */
  PyObject *names;                 /* and the loop's __dict__: owned */
  /* A call of call_soon_threadsafe() that runs, in this thread, which holds the lock meanwhile. */
  PyObject *guarded;
  unsigned long guarded_in;
  PyThread_type_lock guard;
} uvb_scheduler;

/* python_handle.c. The fields of a handle of ours; NULL for one of asyncio's. */
uvb_call *uvb_call_of(PyObject *handle);
/* A handle for callback and arguments, of which `args` has `count` together. */
PyObject *uvb_new_call(int kind, PyObject *loop, PyObject *const *args, Py_ssize_t count,
                       PyObject *context);
/* Calls it; -1 with an exception set when the loop has to stop. */
int uvb_call_run(PyObject *handle);
int uvb_calls_ready(PyObject *events, PyObject *contextvars);

/* python_guard.c. Calls a thread-safe handle, whose cancel() waits in other threads meanwhile. */
int uvb_run_guarded(PyObject *handle, int (*run)(PyObject *handle));
/* Waits while another thread calls the handle: 0, or -1 when a signal handler raises. */
int uvb_wait_guarded(PyObject *handle);

/* python_scheduler.c. Whether an object is a loop that has the scheduler of these files. */
int uvb_is_scheduler(PyObject *object);

/* python_turns.c. What a callback raised is set: 0 when the loop has handled it. */
int uvb_scheduler_failed(PyObject *loop, PyObject *handle);
int uvb_scheduler_debug(PyObject *loop);
void uvb_scheduler_wake(uvb_scheduler *scheduler);
int uvb_make_ready(uvb_scheduler *scheduler, PyObject *handle);
PyObject *uvb_take_ready(uvb_scheduler *scheduler);
void uvb_ready_clear(uvb_scheduler *scheduler);

/* python_soon.c. Calls a method of Python's with the arguments that one of ours got. */
PyObject *uvb_scheduler_slowly(PyObject *self, const char *name, PyObject *const *args,
                               Py_ssize_t count, PyObject *names);
/* Whether these arguments are for C: 1 and the context in `context` when they are. */
int uvb_scheduler_takes(Py_ssize_t count, PyObject *const *args, PyObject *names,
                        PyObject **context);
PyObject *uvb_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *uvb_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *names);
PyObject *uvb_add_callback(PyObject *self, PyObject *handle);
int uvb_soon_ready(void);

/* python_clock.c. The time of loop.time(), and whether that or its clock was replaced. */
int uvb_clock_is_replaced(uvb_scheduler *scheduler);
int uvb_read_clock(uvb_scheduler *scheduler, double *now, int *replaced);
int uvb_number(PyObject *object, double *value); /* -1 with an exception set when it is none */
int uvb_calls_at(uvb_scheduler *scheduler);
int uvb_plain_now(double *now);
int uvb_clock_ready(PyObject *time, PyObject *type);

/* python_heap.c. The last has the caller take over the reference of the first timer. */
void uvb_heap_down(uvb_due *heap, size_t size, size_t place);
int uvb_heap_push(uvb_scheduler *scheduler, PyObject *handle, double when);
PyObject *uvb_heap_pop(uvb_scheduler *scheduler);

/* python_timers.c */
void uvb_scheduler_timer_cancelled(PyObject *loop);
int uvb_timers_turn(uvb_scheduler *scheduler);
int uvb_timers_start(uvb_scheduler *scheduler);
void uvb_timers_clear(uvb_scheduler *scheduler);
PyObject *uvb_call_at(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *uvb_call_later(PyObject *self, PyObject *const *args, Py_ssize_t count,
                         PyObject *names);
PyObject *uvb_add_timer(PyObject *self, PyObject *handle);
PyObject *uvb_scheduled(PyObject *self, PyObject *none);
PyObject *uvb_clear_scheduled(PyObject *self, PyObject *none);
PyObject *uvb_count_cancelled(PyObject *self, PyObject *handle);
#endif

#endif
