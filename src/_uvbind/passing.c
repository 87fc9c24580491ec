/* Passing handles to other processes (uv_write2).
 *
 * libuv keeps a pointer to the handle until the request has been written, and the handle may be
 * closed before. So libuv never gets the handle itself but a passenger: a copy of the few fields
 * that libuv looks at. While the handle is open, both have the same descriptor. When the handle is
 * closed, libuv closes it at once, so that it receives and accepts nothing more, and the passenger
 * gets a duplicate; Python is told that the handle is closed when it has been passed. */
#include "uvbind.h"

#ifdef _WIN32

int uvb_write2(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count,
               uvb_handle *passed) {
  return uv_write2(req, stream, buffers, count, &passed->uv.stream, uvb_write_cb);
}
void uvb_passing_outlives(uvb_handle *handle) { (void)handle; }

#else

#include <fcntl.h>
#include <unistd.h>

struct uvb_passenger {
  union uv_any_handle uv; /* its type and its descriptor count, the rest is 0 */
  uvb_handle *from;       /* who is passed; lives until all its passengers have left */
  uv_write_t *req;        /* its send_handle is NULL when the descriptor has been sent */
  uvb_passenger *next;    /* of the same handle */
  int duplicate;          /* the descriptor when the handle is closed, else -1 */
};

static int *descriptor_of(union uv_any_handle *uv) {
  return uv->handle.type == UV_UDP ? &uv->udp.io_watcher.fd : &uv->stream.io_watcher.fd;
}

static void leave(uvb_passenger *passenger) {
  uvb_passenger **place = &passenger->from->passengers;

  while (*place != passenger)
    place = &(*place)->next;
  *place = passenger->next;
  if (passenger->duplicate != -1)
    close(passenger->duplicate);
  free(passenger);
}

static void passed_cb(uv_write_t *req, int status) {
  uvb_passenger *passenger = ((uvb_request *)req->data)->passenger;
  uvb_handle *from = passenger->from;

  uvb_python_request(req->data, status);
  leave(passenger);
  if (from->closed && from->passengers == NULL)
    uvb_python_closed(from);
}

int uvb_write2(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count,
               uvb_handle *passed) {
  uvb_passenger *passenger = calloc(1, sizeof *passenger);
  int err;

  if (passenger == NULL)
    return UV_ENOMEM;
  passenger->uv.handle.type = passed->uv.handle.type;
  *descriptor_of(&passenger->uv) = *descriptor_of(&passed->uv);
  passenger->duplicate = -1;
  passenger->req = req;
  passenger->from = passed;
  passenger->next = passed->passengers;
  passed->passengers = passenger;
  ((uvb_request *)req->data)->passenger = passenger;
  err = uv_write2(req, stream, buffers, count, &passenger->uv.stream, passed_cb);
  if (err != 0)
    leave(passenger);
  return err;
}

/* A duplicate; where there is no number left for it, the loop's reserve (exhaustion.c) gives one. */
static int duplicate(uv_loop_t *loop, int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

  if (copy == -1 && loop->emfile_fd != -1 && dup2(fd, loop->emfile_fd) != -1) {
    copy = loop->emfile_fd;
    fcntl(copy, F_SETFD, FD_CLOEXEC); /* macOS has no dup3 */
    loop->emfile_fd = -1;
  }
  return copy;
}

/* The handle is about to be closed. A request that gets no duplicate ends with EBADF. */
void uvb_passing_outlives(uvb_handle *handle) {
  for (uvb_passenger *each = handle->passengers; each != NULL; each = each->next)
    if (each->req->send_handle != NULL) {
      each->duplicate = duplicate(&handle->loop->uv, *descriptor_of(&handle->uv));
      *descriptor_of(&each->uv) = each->duplicate;
    }
}

#endif
