/* What the C sources that use CPython's API share. */
#ifndef UVBIND_PYTHON_H
#define UVBIND_PYTHON_H

#include "uvbind.h"

#ifndef PYPY_VERSION
typedef struct uvb_known_sender uvb_known_sender;

/* What C keeps of Python for a loop, a handle or a request: an object that the garbage collector
 * sees, and that owns the C memory; see python_core.c. */
typedef struct uvb_core uvb_core;
struct uvb_core {
  PyObject_HEAD
  enum { UVB_LOOP, UVB_HANDLE, UVB_REQUEST } kind;
  union {
    uvb_loop *loop;
    uvb_handle *handle;
    uvb_request *request;
    void *memory;
  } half;
  uvb_core *loop;            /* of a handle or a request: its loop's, owned */
  uvb_core *next, *previous; /* the ring of those that libuv has: their loop's owns each */
  /* Owned, and NULL when libuv is done with it: */
  PyObject *object;   /* the Python object, */
  PyObject *pin;      /* the cffi handle of it, for the crossings, */
  union {
    PyObject *on_read;   /* its callback of reads, or a Poll's; */
    PyObject *scheduler; /* of a loop that asyncio runs: what has its turns, */
  };
  PyObject *protocol; /* for a transport its protocol, */
  PyObject *raised;   /* and what takes the protocol's exceptions, */
  PyObject *kept;     /* what libuv reads from, for a request, or a batch of datagrams; the transport
                         of a stream while its writes wait, */
  PyObject *first;    /* of a stream: the bytes that wait, */
  PyObject *queue;    /* and a list of those behind them, */
  uvb_core *unsent;   /* of a loop: the first stream with bytes that wait; of a stream: the next, */
  Py_buffer lent;     /* what it reads into, when `obj` is set, */
  uvb_known_sender *senders; /* and the addresses of the last senders of datagrams. */
  size_t queued, bound;   /* of a stream: so many bytes wait, and no more than so many */
  uvb_core *last_unsent;  /* of a loop: the last stream with bytes that wait */
};

/* python_core.c */
int uvb_core_ready(void);
PyObject *uvb_loop_core(PyObject *module, PyObject *args);
/* The C half behind a core; NULL, with a TypeError, when it is of another kind. */
uvb_loop *uvb_core_loop(PyObject *core);
uvb_request *uvb_core_request(PyObject *core);
uvb_handle *uvb_core_handle(PyObject *core);
uvb_handle *uvb_core_stream(PyObject *core);
/* Has C call these in the place of others; each may be NULL. */
void uvb_core_call(uvb_core *core, PyObject *callback, PyObject *protocol, PyObject *raised);
/* What C is done with, it calls no more and does not keep. */
void uvb_core_release(uvb_core *core);
void uvb_core_return(uvb_core *core);

/* Hand the exception that is set to Python's `failed`. */
void uvb_report(void);

/* python_stream.c: the names it calls, once; and the methods of the cores of streams. */
int uvb_stream_names(void);
PyObject *uvb_read_start(PyObject *core, PyObject *args);
PyObject *uvb_read_stop(PyObject *core, PyObject *none);
PyObject *uvb_forget_calls(PyObject *self, PyObject *none);
PyObject *uvb_lend(PyObject *core, PyObject *buffer);
PyObject *uvb_write_now_method(PyObject *core, PyObject *data);

/* python_writes.c: likewise. */
int uvb_writes_names(void);
void uvb_core_unqueue(uvb_core *core);
PyObject *uvb_send_method(PyObject *core, PyObject *const *arguments, Py_ssize_t count);
PyObject *uvb_flush_method(PyObject *core, PyObject *none);
PyObject *uvb_set_bound_method(PyObject *core, PyObject *number);

/* python_udp.c: those of UDP handles that receive, and an address as Python has it. */
PyObject *uvb_recv_start(PyObject *core, PyObject *args);
PyObject *uvb_address_tuple(const struct sockaddr *address);
void uvb_forget_senders(uvb_known_sender *senders);

/* python_udp_send.c: and of those that send. */
PyObject *uvb_senders(PyObject *core, PyObject *pack);

/* python.c: the callback of a stream's read or of a Poll. */
void uvb_hand_over(uvb_handle *handle, PyObject *payload);
PyObject *uvb_poll_start_method(PyObject *core, PyObject *args);

/* python_scheduler.c: the base of asyncio's loop; a turn of it, which tells whether there is more, and
 * fails when that could not be found out; and the wakeup of a loop that `handle` is for: 0 when it is
 * for another callback. */
PyObject *uvb_scheduler_type(PyObject *module, PyObject *none);
int uvb_scheduler_turn(PyObject *scheduler, int early);
int uvb_scheduler_woken(uvb_handle *handle);

/* python_readiness.c, python_waits.c: the descriptors that an asyncio loop watches for the program. */
PyObject *uvb_readiness_type(PyObject *module, PyObject *none);
PyObject *uvb_waits_type(PyObject *module, PyObject *none);

/* python_sockets.c: the builtins of sockets that are not libuv's. */
PyObject *uvb_receive(PyObject *module, PyObject *args);
PyObject *uvb_send(PyObject *module, PyObject *args);
PyObject *uvb_accept(PyObject *module, PyObject *args);

/* python_dns.c: the builtins of name lookups. */
PyObject *uvb_resolver(PyObject *module, PyObject *args);
#endif

#endif
