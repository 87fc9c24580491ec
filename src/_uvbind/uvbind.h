/* What the C sources share; Python sees only what cdef/ declares. */
#ifndef UVBIND_H
#define UVBIND_H

#include <Python.h> /* first: it sets feature macros; PyPy's defines PYPY_VERSION */

#include <errno.h> /* these four Python.h leaves out of its limited API from 3.11 on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "compat.h"

#ifndef UVB_WRAPS
#define UVB_WRAPS 0 /* 1: the linker has libuv call the functions of system.c and watching.c */
#endif

#include "cdef/callbacks.h"
#include "cdef/shim.h"

enum {
  UVB_SLAB_SIZE = 256 * 1024,
  UVB_DATAGRAM_SIZE = 64 * 1024, /* libuv's room for one datagram */
  UVB_DATAGRAMS = 20,            /* how many libuv receives or sends with one system call */
  UVB_DATAGRAM_TURN = 32         /* how many it receives in a turn without recvmmsg */
};

/* How long the name of a pipe may be, with the NUL at its end where it has one. */
#ifdef _WIN32
#define UVB_PIPE_NAME_SIZE 257
#else
#include <sys/un.h>
#define UVB_PIPE_NAME_SIZE ((int)sizeof(((struct sockaddr_un *)0)->sun_path))
#endif

typedef struct uvb_request uvb_request;
typedef struct uvb_passenger uvb_passenger;

struct uvb_loop {
  uv_loop_t uv;
  void *self; /* as of handles */
  void *core;
  unsigned long owner;  /* ident of the thread that uses the loop, 0 when none does */
  int running;
  int looking_up;       /* that thread waits in a lookup that blocks */
  int forked;           /* this is a child process, and uvb_loop_fork was not called yet */
  char *slab;           /* every read of the loop lands here first */
  char *datagrams;      /* and what recvmmsg receives here */
  int internal_handles; /* ours that are closing */
  int closing;
  int closed; /* libuv has no part of it any more */

  uv_poll_t wakeup; /* a signal came for Python */
  int wakeup_fd;
  char signals[UVB_SIGNALS]; /* that came, until Python takes them */
  int signal_count;
  int wakeup_forward; /* whose place it took while the loop runs, -1 for nobody's */

  uv_poll_t exhausted; /* libuv ran out of descriptors, see exhaustion.c */
  int exhausted_fd;

  uv_check_t later; /* Python has something to do after the poll, */
  uv_idle_t awake;  /* which is not to wait, */
  int has_before;   /* and had before the poll that is under way */

  uv_prepare_t before_poll; /* the last thing in a turn before it may wait */

  int measuring;        /* metrics.c: libuv measures how long the loop waits, */
  uint64_t poll_began;  /* the poll of this turn began then */
  uint64_t idle_before; /* and found so much measured, */
  uint64_t forgotten;   /* without what signals have had libuv forget */

#if UVB_WRAPS
  struct uv__queue unwatched; /* watching.c: watchers that epoll_ctl has refused with `error`, */
  struct uv__queue retried;   /* and that libuv gets again at `retry_at` */
  uint64_t retry_at;
  int error, polls_once;
#endif

  void *thread_state; /* python.c: of the thread that runs the loop without the GIL */
};

/* The memory of a handle or a request stays until both its core and libuv are done with it. */
struct uvb_handle {
  void *self; /* the cffi handle of the Python object, for the crossings */
  void *core; /* core.c: what C keeps of Python; NULL on PyPy, where _core.py keeps it */
  uvb_loop *loop;
  int closed; /* by libuv; with passengers Python is told later */
  int asks;   /* Python is asked for the buffer of every read */
  char *into; /* where a read is to land: the caller's buffer */
  size_t into_size;
  uvb_passenger *passengers; /* passing.c: for each request that passes it */
  int retries;   /* watching.c: a Poll that hears of no failure, and is tried again */
  int oneshot;   /* signals */
  int events;    /* polls: for which they watch */
  int listens;   /* servers */
  int backlog;   /* how many connections may wait for accept(), */
  int *waiting;  /* those that do, */
  int waiting_count;
  int leaves;    /* and whether the callback has left the newest to them */
  int batching;  /* datagrams: handed over in batches, of tuples with so many parts, */
  int batched;   /* of which one has so many by now */
  int no_senders; /* unless datagrams come here without */
  int in_batch;   /* libuv has received several datagrams and hands them over, */
  int found;      /* has found any since it last found none, */
  int connected;  /* and sends to one address only: 1, 0 or -1 for not known */
  union uv_any_handle uv;
};

struct uvb_request {
  union uv_any_req uv; /* first: libuv's request and ours have one address */
  void *self, *core;   /* as of handles */
  uvb_loop *loop;
  int done;      /* libuv has called back, or did not take it */
  int cancelled; /* lookups: libuv will call back, */
  int abandoned; /* libuv has forgotten it, Python will call back, */
  int counted;   /* a thread was at work on it when this process was forked off */
  uvb_passenger *passenger; /* passing.c: the handle that a write passes */
};

/* python*.c, the files that know CPython from PyPy. */
void uvb_python_alloc(uvb_handle *handle);
void uvb_python_poll(uvb_handle *handle, int status, int events);
void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread);
void uvb_python_returned(uvb_handle *handle);
/* A callback takes the GIL before it enters Python; the loop lets go of it before it may wait. */
void uvb_python_enter(uvb_loop *loop);
/* For a crossing: enters, and returns the cffi handle of the Python object of a uvb_handle. */
void *uvb_python_self(void *handle);
void uvb_python_leave(uvb_loop *loop);
void uvb_python_closed(uvb_handle *handle);
void uvb_python_datagram(uvb_handle *handle, const char *data, ssize_t nread,
                         const struct sockaddr *sender, int flags);
void uvb_python_batch(uvb_handle *handle);
void uvb_python_request(uvb_request *request, int status);
void uvb_python_later(uvb_loop *loop, int early);
void uvb_python_turn_ends(uvb_loop *loop);
void uvb_python_async(uvb_handle *handle);
void uvb_loop_catch_up(uvb_loop *loop);
void *uvb_python_keep(void *object, const char *data, size_t size);
void uvb_python_unkeep(void *kept); /* right after uvb_python_keep, by the same caller */
void uvb_python_let_go(uvb_loop *loop, void *kept);

/* accept.c: closes the connections that wait for accept(). */
void uvb_drop_connections(uvb_handle *server);

/* udp_socket.c: uv_accept of a UDP socket; UV_EISCONN or UV_EDESTADDRREQ for an address that the socket cannot send to; what
 * the kernel has queued of errors it tells, and returns how many they were. */
int uvb_udp_accept(uv_stream_t *server, uvb_handle *client);
int uvb_udp_check_address(uvb_handle *handle, const struct sockaddr *address);
int uvb_udp_tell_errors(uvb_handle *handle);

/* passing.c */
void uvb_passing_outlives(uvb_handle *handle);

/* exhaustion.c */
void uvb_exhaustion_init(uvb_loop *loop);
void uvb_exhaustion_close(uvb_loop *loop);
void uvb_exhaustion_rearm(uvb_loop *loop);
void uvb_exhaustion_forked(uvb_loop *loop);
int uvb_exhaustion_fork(uvb_loop *loop);

/* metrics.c: a poll begins; a signal has ended it. */
void uvb_metrics_before_poll(uvb_loop *loop);
void uvb_metrics_signalled(uvb_loop *loop);

/* dns.c: in a child, has libuv deliver the lookups that were done before the fork. */
void uvb_lookups_forked(uvb_loop *loop);

/* watching.c; uvb_watching_for tells which loop this thread runs, and returns which it ran before. */
int uvb_watching_init(uvb_loop *loop);
void uvb_watching_before_poll(uvb_loop *loop);
uvb_loop *uvb_watching_for(uvb_loop *loop);

/* system.c: uv_loop_init that never aborts; for which loop this thread makes descriptors, NULL for
 * none, returning for which it did before; room in libuv's table, or UV_ENOMEM. */
int uvb_plain_loop_init(uv_loop_t *loop);
uv_loop_t *uvb_set_current(uv_loop_t *loop);
int uvb_room_for(uv_loop_t *loop, int fd);
/* uv_interface_addresses; a name that there was no memory for is NULL. */
int uvb_interfaces(uv_interface_address_t **found, int *count);

/* undo.c: a verb of libuv's between these two leaves nothing behind when it fails. */
typedef struct {
  uv_handle_t *handle;
  unsigned int flags;
  int descriptor;
  uv_loop_t *current;
} uvb_attempt;
uvb_attempt uvb_begin(uv_handle_t *handle);
int uvb_end(const uvb_attempt *attempt, int err);
/* 0 when libuv can watch the descriptor that a UDP handle or a stream may have, or UV_ENOMEM. */
int uvb_has_room(uv_handle_t *handle);

/* loop.c */
/* The close callback of our own handles. */
void uvb_internal_closed(uv_handle_t *handle);

#endif
