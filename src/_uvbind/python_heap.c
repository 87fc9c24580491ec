/* The heap of the asyncio loop's timers, on CPython: an array in which the timer at `place` is due
 * before those at 2 * place + 1 and 2 * place + 2. Timers of one time come in the order of the calls
 * that made them.
 *
 * All of it needs the GIL. */
#include "python_scheduler.h"

#ifndef PYPY_VERSION

#include <math.h>

static int before(const uvb_due *one, const uvb_due *other) {
  return one->when < other->when || (one->when == other->when && one->sequence < other->sequence);
}

static void sift_up(uvb_due *heap, size_t place) {
  const uvb_due moved = heap[place];

  for (size_t above; place > 0 && before(&moved, &heap[above = (place - 1) / 2]); place = above)
    heap[place] = heap[above];
  heap[place] = moved;
}

void uvb_heap_down(uvb_due *heap, size_t size, size_t place) {
  const uvb_due moved = heap[place];

  for (size_t below; (below = 2 * place + 1) < size; place = below) {
    if (below + 1 < size && before(&heap[below + 1], &heap[below]))
      below++;
    if (!before(&heap[below], &moved))
      break;
    heap[place] = heap[below];
  }
  heap[place] = moved;
}

int uvb_heap_push(uvb_scheduler *scheduler, PyObject *handle, double when) {
  uvb_due entry = {isnan(when) ? -INFINITY : when, scheduler->sequence++, handle};

  if (scheduler->timers == scheduler->heap_room) {
    const size_t room = scheduler->heap_room == 0 ? 16 : 2 * scheduler->heap_room;
    uvb_due *heap = realloc(scheduler->heap, room * sizeof *heap);
    if (heap == NULL) {
      PyErr_NoMemory();
      return -1;
    }
    scheduler->heap = heap;
    scheduler->heap_room = room;
  }
  Py_INCREF(handle);
  scheduler->heap[scheduler->timers] = entry;
  sift_up(scheduler->heap, scheduler->timers++);
  return 0;
}

PyObject *uvb_heap_pop(uvb_scheduler *scheduler) {
  PyObject *handle = scheduler->heap[0].handle;

  scheduler->heap[0] = scheduler->heap[--scheduler->timers];
  if (scheduler->timers > 0)
    uvb_heap_down(scheduler->heap, scheduler->timers, 0);
  return handle;
}

#endif
