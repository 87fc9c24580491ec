/* What python_waits.c and python_wait.c share. */
#ifndef UVBIND_PYTHON_WAITS_H
#define UVBIND_PYTHON_WAITS_H

#include "python_epoll.h"

#if UVB_HAS_EPOLL

typedef struct uvb_wait uvb_wait;
struct uvb_wait {
  PyObject_HEAD
  PyObject *waits;     /* the set that it is of: owned */
  uvb_scheduler *loop; /* owned */
  PyObject *handle;    /* the task's callback, until it is called: owned */
  PyObject *cancelled; /* a future that was, when this was: owned */
  uvb_wait *next, **place; /* in a list, whose place owns it; `place` is NULL when it is in none */
  int fd, side, begun, blocking;
};

/* python_wait.c */
uvb_wait *uvb_new_wait(PyObject *waits, uvb_scheduler *loop, int fd, int side);
/* Has the task go on, unless it does already; -1 with the exception set that is to stop the loop. */
int uvb_wait_ready(uvb_wait *wait);
int uvb_wait_ready_later(uvb_wait *wait); /* in the loop's next turn */
int uvb_wait_type_ready(void);

/* python_waits.c: have the kernel tell of its descriptor, and no longer. */
int uvb_waits_begin(uvb_wait *wait);
void uvb_waits_give_up(uvb_wait *wait);

#endif

#endif
