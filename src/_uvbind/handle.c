/* Handles and requests: memory, closing, and the callbacks of those that stay cold. */
#include "uvbind.h"

#ifndef _WIN32
#include <unistd.h>
#endif

uvb_handle *uvb_handle_new(uvb_loop *loop, void *self) {
  uvb_handle *handle = calloc(1, sizeof *handle);
  if (handle != NULL) {
    handle->self = self;
    handle->loop = loop;
    handle->uv.handle.data = handle;
  }
  return handle;
}

/* libuv begins to have it, or returns why not and has nothing to do with it. `argument` is that of
 * libuv's init function: flags, `ipc` or a descriptor. */
int uvb_handle_init(uvb_handle *handle, int type, int argument) {
  uv_loop_t *loop = &handle->loop->uv;
  union uv_any_handle *uv = &handle->uv;
  uv_loop_t *current;
  int err = UV_EINVAL;

  if (uv->handle.type != UV_UNKNOWN_HANDLE || handle->loop->closed)
    return UV_EINVAL;
  current = uvb_set_current(loop); /* a handle may get its socket here */
  if (type == UV_TCP)
    err = uv_tcp_init_ex(loop, &uv->tcp, (unsigned int)argument);
  else if (type == UV_UDP)
    err = uv_udp_init_ex(loop, &uv->udp, (unsigned int)argument);
  else if (type == UV_NAMED_PIPE)
    err = uv_pipe_init(loop, &uv->pipe, argument);
  else if (type == UV_POLL) {
    err = uvb_room_for(loop, argument);
    if (err == 0)
      err = uv_poll_init(loop, &uv->poll, argument);
  }
  else if (type == UV_ASYNC)
    err = uv_async_init(loop, &uv->async, uvb_async_cb);
  else if (type == UV_TIMER)
    err = uv_timer_init(loop, &uv->timer);
  else if (type == UV_SIGNAL)
    err = uv_signal_init(loop, &uv->signal);
  else if (type == UV_PREPARE)
    err = uv_prepare_init(loop, &uv->prepare);
  else if (type == UV_CHECK)
    err = uv_check_init(loop, &uv->check);
  else if (type == UV_IDLE)
    err = uv_idle_init(loop, &uv->idle);
  uvb_set_current(current);
  if (err != 0)
    uv->handle.type = UV_UNKNOWN_HANDLE;
  return err;
}

static int is_over(const uvb_handle *handle) {
  return handle->closed && handle->passengers == NULL;
}

/* Python has no more use for it. C memory that libuv still has, as when its loop was dropped unclosed, is
 * not freed: libuv's threads and signal handlers may look at it. */
void uvb_handle_free(uvb_handle *handle) {
  handle->self = handle->core = NULL;
  if (handle->uv.handle.type == UV_UNKNOWN_HANDLE || is_over(handle) || handle->loop->closed)
    free(handle);
}

void *uvb_handle_uv(uvb_handle *handle) { return &handle->uv; }

static void close_cb(uv_handle_t *handle) {
  uvb_handle *ours = handle->data;
  uvb_drop_connections(ours);
  ours->closed = 1;
  if (ours->passengers == NULL)
    uvb_python_closed(ours);
}

/* libuv never closes the descriptors 0 to 2 of a stream; who has handed one over has let go of it. */
#ifdef _WIN32
static int low_descriptor(uvb_handle *handle) {
  (void)handle;
  return -1;
}
static void close_low(int low) { (void)low; }
#else
static int low_descriptor(uvb_handle *handle) {
  const uv_handle_type type = handle->uv.handle.type;
  const int fd = type == UV_TCP || type == UV_NAMED_PIPE ? handle->uv.stream.io_watcher.fd : -1;
  return fd > 2 ? -1 : fd;
}
static void close_low(int low) {
  if (low != -1)
    close(low);
}
#endif

/* 1: its close callback will come. 0: libuv does not have it, or no more. */
int uvb_handle_close(uvb_handle *handle) {
  if (handle->uv.handle.type == UV_UNKNOWN_HANDLE || is_over(handle))
    return 0;
  uvb_drop_connections(handle);
  if (!uv_is_closing(&handle->uv.handle)) {
    int low = low_descriptor(handle);
    uvb_passing_outlives(handle);
    uv_close(&handle->uv.handle, close_cb);
    close_low(low);
  }
  return 1;
}

/* Have libuv forget the descriptor of a socket, which stays open; the handle is closed next. A
 * handle with writes in its queue keeps it. For the loop's thread, outside of a run. */
void uvb_handle_leave_descriptor(uvb_handle *handle) {
#ifndef _WIN32
  if (handle->uv.handle.type == UV_UDP) {
    uv_udp_t *udp = &handle->uv.udp;
    if (uv_udp_get_send_queue_count(udp) == 0 && uv_udp_recv_stop(udp) == 0)
      udp->io_watcher.fd = -1;
  } else if (handle->uv.handle.type == UV_TCP) {
    uv_stream_t *stream = &handle->uv.stream;
    if (uv_stream_get_write_queue_size(stream) == 0 && uv_read_stop(stream) == 0)
      stream->io_watcher.fd = -1;
  }
#else
  (void)handle;
#endif
}

/* A connection that is being passed to another process is not to be reset there. */
int uvb_tcp_close_reset(uvb_handle *handle) {
  int low = low_descriptor(handle), err = 0;

  if (handle->passengers == NULL)
    err = uv_tcp_close_reset(&handle->uv.tcp, close_cb);
  else {
    uvb_passing_outlives(handle);
    uv_close(&handle->uv.handle, close_cb);
  }
  if (err == 0)
    close_low(low);
  return err;
}

/* libuv is not to remove the path that the pipe is bound to. The few bytes are not freed: whose
 * they are, the allocator that libuv was given may know. */
void uvb_pipe_keep_path(uvb_handle *handle) {
#ifdef _WIN32
  (void)handle;
#else
  handle->uv.pipe.pipe_fname = NULL;
#endif
}

void *uvb_request_new(uvb_loop *loop, void *self) {
  uvb_request *request = calloc(1, sizeof *request);
  if (request != NULL) {
    request->self = self;
    request->loop = loop;
    request->uv.req.data = request;
  }
  return request;
}

/* As of handles. */
void uvb_request_free(void *request) {
  uvb_request *ours = request;

  ours->self = ours->core = NULL;
  if (ours->uv.req.type == UV_UNKNOWN_REQ || ours->done || ours->loop->closed) {
    if (ours->uv.req.type == UV_GETADDRINFO)
      uv_freeaddrinfo(ours->uv.getaddrinfo.addrinfo);
    free(ours);
  }
}

/* libuv is done with it, or did not take it, and Python with its results. */
void uvb_request_done(void *request) {
  uvb_request *ours = request;

  ours->done = 1;
  if (ours->uv.req.type == UV_GETADDRINFO) {
    uv_freeaddrinfo(ours->uv.getaddrinfo.addrinfo);
    ours->uv.getaddrinfo.addrinfo = NULL;
  }
}

void *uvb_python_self(void *data) {
  uvb_handle *handle = data;
  uvb_python_enter(handle->loop);
  return handle->self;
}

void uvb_timer_cb(uv_timer_t *timer) { uvb_on_timer(uvb_python_self(timer->data)); }

void uvb_async_cb(uv_async_t *async) { uvb_python_async(async->data); }

static void poll_cb(uv_poll_t *poll, int status, int events) {
  uvb_handle *ours = poll->data;

  /* The descriptor has an error, such as a connection that was refused. libuv stops watching and
   * calls it EBADF. The error is for whoever reads or writes the descriptor, so what is watched for
   * counts as ready, as in select(). To ask for SO_ERROR would take the error from the socket. */
  if (status == UV_EBADF) {
    status = uv_poll_start(poll, ours->events, poll_cb);
    events = ours->events & (UV_READABLE | UV_WRITABLE);
    if (events == 0)
      events = ours->events;
  }
  uvb_python_poll(ours, status, events);
}

int uvb_poll_start(uvb_handle *handle, int events) {
  handle->events = events;
  return uv_poll_start(&handle->uv.poll, events, poll_cb);
}

void uvb_poll_retries(uvb_handle *handle) { handle->retries = 1; }

void uvb_prepare_cb(uv_prepare_t *prepare) { uvb_on_watcher(uvb_python_self(prepare->data)); }

void uvb_check_cb(uv_check_t *check) { uvb_on_watcher(uvb_python_self(check->data)); }

void uvb_idle_cb(uv_idle_t *idle) { uvb_on_watcher(uvb_python_self(idle->data)); }
