/* Handles and requests: memory, closing, and the callbacks of those that stay cold. */
#include "uvbind.h"

uvb_handle *uvb_handle_new(uvb_loop *loop, void *self) {
  uvb_handle *handle = calloc(1, sizeof *handle);
  if (handle != NULL) {
    handle->self = self;
    handle->loop = loop;
    handle->uv.handle.data = handle;
  }
  return handle;
}

void uvb_handle_free(uvb_handle *handle) {
  uvb_python_forget(handle);
  uvb_drop_connections(handle);
  free(handle);
}

void *uvb_handle_uv(uvb_handle *handle) { return &handle->uv; }

static void close_cb(uv_handle_t *handle) {
  uvb_handle *ours = handle->data;
  ours->closed = 1;
  if (ours->passengers == NULL)
    uvb_on_close(ours->self);
}

/* Python frees the handle when it is told that libuv has closed it. An exception, such as of a
 * failed allocation, may keep Python from that: the next call tells it again. */
void uvb_handle_close(uvb_handle *handle) {
  uvb_drop_connections(handle);
  if (handle->uv.handle.type == UV_UNKNOWN_HANDLE) /* libuv has never seen it */
    uvb_on_close(handle->self);
  else if (handle->closed && handle->passengers == NULL)
    uvb_on_close(handle->self);
  else if (!uv_is_closing(&handle->uv.handle)) {
    uvb_passing_outlives(handle);
    uv_close(&handle->uv.handle, close_cb);
  }
}

/* A connection that is being passed to another process is not to be reset there. */
int uvb_tcp_close_reset(uvb_handle *handle) {
  if (handle->passengers == NULL)
    return uv_tcp_close_reset(&handle->uv.tcp, close_cb);
  uvb_passing_outlives(handle);
  uv_close(&handle->uv.handle, close_cb);
  return 0;
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

void uvb_request_free(void *request) {
  const union uv_any_req *uv = request;
  if (uv->req.type == UV_GETADDRINFO)
    uv_freeaddrinfo(uv->getaddrinfo.addrinfo);
  free(request);
}

static void *self_of(void *data) { return ((uvb_handle *)data)->self; }

void uvb_timer_cb(uv_timer_t *timer) { uvb_on_timer(self_of(timer->data)); }

void uvb_async_cb(uv_async_t *async) { uvb_on_async(self_of(async->data)); }

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

void uvb_prepare_cb(uv_prepare_t *prepare) { uvb_on_watcher(self_of(prepare->data)); }

void uvb_check_cb(uv_check_t *check) { uvb_on_watcher(self_of(check->data)); }

void uvb_idle_cb(uv_idle_t *idle) { uvb_on_watcher(self_of(idle->data)); }
