/* Telling a server that the process is out of descriptors.
 *
 * When accept() fails with EMFILE, libuv closes a descriptor it keeps in reserve
 * (loop->emfile_fd), accepts and closes every pending connection, and tells nobody. We put
 * the write end of a pipe in reserve: its closing is a hangup on the read end, and the
 * watcher of the read end tells Python. The pipe is then made anew. */
#include "uvbind.h"

void uvb_exhaustion_init(uvb_loop *loop) { loop->exhausted_fd = -1; }

#ifdef _WIN32

int uvb_loop_watch_exhaustion(uvb_loop *loop) {
  (void)loop;
  return 0;
}
void uvb_exhaustion_close(uvb_loop *loop) { (void)loop; }
void uvb_exhaustion_rearm(uvb_loop *loop) { (void)loop; }
void uvb_exhaustion_forked(uvb_loop *loop) { (void)loop; }
int uvb_exhaustion_fork(uvb_loop *loop) {
  (void)loop;
  return UV_ENOSYS;
}

#else

#include <fcntl.h>
#include <unistd.h>

static void closed(uv_handle_t *handle) {
  uvb_loop *loop = handle->loop->data;
  close(loop->exhausted_fd);
  loop->exhausted_fd = -1;
  uvb_internal_closed(handle);
}

static void closed_for_rearming(uv_handle_t *handle) {
  uvb_loop *loop = handle->loop->data;
  closed(handle);
  if (!loop->closing)
    uvb_exhaustion_rearm(loop);
}

void uvb_exhaustion_close(uvb_loop *loop) {
  if (loop->exhausted_fd != -1 && !uv_is_closing((uv_handle_t *)&loop->exhausted)) {
    loop->internal_handles++;
    uv_close((uv_handle_t *)&loop->exhausted, closed);
  }
}

static void exhausted_cb(uv_poll_t *poll, int status, int events) {
  uvb_loop *loop = poll->loop->data;
  (void)status;
  (void)events;
  loop->internal_handles++;
  uv_close((uv_handle_t *)poll, closed_for_rearming);
  uvb_python_enter(loop);
  uvb_on_exhausted(loop->self);
}

int uvb_loop_watch_exhaustion(uvb_loop *loop) {
  uv_file ends[2];
  int err;

  if (loop->exhausted_fd != -1)
    return 0;
  if (loop->uv.emfile_fd != -1)
    close(loop->uv.emfile_fd);
  loop->uv.emfile_fd = -1;
  err = uv_pipe(ends, 0, 0);
  if (err == 0) {
    err = uvb_room_for(&loop->uv, ends[0]);
    if (err == 0)
      err = uv_poll_init(&loop->uv, &loop->exhausted, ends[0]);
    if (err == 0) {
      uv_unref((uv_handle_t *)&loop->exhausted);
      uv_poll_start(&loop->exhausted, UV_READABLE, exhausted_cb);
      loop->exhausted_fd = ends[0];
      loop->uv.emfile_fd = ends[1];
      return 0;
    }
    close(ends[0]);
    close(ends[1]);
  }
  /* Something in reserve all the same: without it libuv spins on the pending connection. */
  loop->uv.emfile_fd = uvb_above_2(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return err;
}

/* Called when a connection came in, the sign that there are descriptors again. Failing here
 * is no loss: the next connection tries once more. */
void uvb_exhaustion_rearm(uvb_loop *loop) {
  if (loop->exhausted_fd == -1)
    uvb_loop_watch_exhaustion(loop);
}

/* In a forked child: the parent would see no hangup while we hold the other end as well. */
void uvb_exhaustion_forked(uvb_loop *loop) {
  if (loop->exhausted_fd != -1 && loop->uv.emfile_fd != -1) {
    close(loop->uv.emfile_fd);
    loop->uv.emfile_fd = -1;
  }
}

/* Another pipe, whose read end takes the number of the parent's, which is watched. */
int uvb_exhaustion_fork(uvb_loop *loop) {
  uv_file ends[2];
  int err;

  if (loop->exhausted_fd == -1)
    return 0;
  err = uv_pipe(ends, 0, 0);
  if (err != 0)
    return err;
  if (dup2(ends[0], loop->exhausted_fd) == -1) {
    err = uv_translate_sys_error(errno);
    close(ends[1]);
  } else {
    fcntl(loop->exhausted_fd, F_SETFD, FD_CLOEXEC); /* macOS has no dup3 */
    loop->uv.emfile_fd = ends[1];
  }
  close(ends[0]);
  return err;
}

#endif
