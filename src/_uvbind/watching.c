/* Descriptors that the kernel does not watch for libuv.
 *
 * libuv aborts when epoll_ctl fails, as it does when the user has reached max_user_watches or the
 * kernel has no memory. Here the handle whose descriptor it is gets the error, and the others go on.
 * The linker has libuv call the wrappers at the end of this file, see system.c. */
#include "uvbind.h"

#if UVB_WRAPS

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

enum { RETRY = 1000 }; /* ms, after which a server or a UDP socket is tried again: as asyncio has it */

typedef struct uv__queue queue;

static _Thread_local uvb_loop *running;

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_epoll_pwait(int epoll, struct epoll_event *events, int room, int timeout,
                       const sigset_t *mask);
int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int room, int timeout,
                       const sigset_t *mask);

static void init(queue *head) { head->next = head->prev = head; }
static int is_empty(const queue *head) { return head->next == head; }

static void remove_from(queue *entry) {
  entry->prev->next = entry->next;
  entry->next->prev = entry->prev;
  init(entry);
}

static uv__io_t *watcher_of(queue *entry) {
  return (uv__io_t *)((char *)entry - offsetof(uv__io_t, watcher_queue));
}

static void append(queue *head, queue *entry) {
  entry->next = head;
  entry->prev = head->prev;
  head->prev->next = entry;
  head->prev = entry;
}

/* libuv has just queued the descriptors that it watches for itself: Loop() tells a failure at once. */
int uvb_watching_init(uvb_loop *loop) {
  queue *waiting = &loop->uv.watcher_queue;

  init(&loop->unwatched);
  init(&loop->retried);
  while (!is_empty(waiting)) {
    uv__io_t *watcher = watcher_of(waiting->next);
    struct epoll_event event = {.events = watcher->pevents, .data.fd = watcher->fd};
    if (__real_epoll_ctl(loop->uv.backend_fd, EPOLL_CTL_ADD, watcher->fd, &event) != 0)
      return uv_translate_sys_error(errno);
    watcher->events = watcher->pevents;
    remove_from(waiting->next);
  }
  return 0;
}

uvb_loop *uvb_watching_for(uvb_loop *loop) {
  uvb_loop *before = running;
  running = loop;
  return before;
}

/* The handle of a watcher. */
typedef struct {
  const uv__io_t *watcher;
  uv_handle_t *handle;
} search;

static void compare(uv_handle_t *handle, void *argument) {
  search *wanted = argument;
  const uv__io_t *watcher = NULL;

  if (handle->type == UV_TCP || handle->type == UV_NAMED_PIPE)
    watcher = &((uv_stream_t *)handle)->io_watcher;
  else if (handle->type == UV_UDP)
    watcher = &((uv_udp_t *)handle)->io_watcher;
  else if (handle->type == UV_POLL)
    watcher = &((uv_poll_t *)handle)->io_watcher;
  if (watcher == wanted->watcher)
    wanted->handle = handle;
}

/* libuv's queues of a stream's writes and of a socket's datagrams: all that wait have failed. */

static void fail_writes(uv_stream_t *stream, int error) {
  while (!is_empty(&stream->write_queue)) {
    queue *first = stream->write_queue.next;
    ((uv_write_t *)((char *)first - offsetof(uv_write_t, queue)))->error = error;
    remove_from(first);
    append(&stream->write_completed_queue, first);
  }
}

static int fail_sends(uv_udp_t *udp, int error) {
  int count = 0;

  for (; !is_empty(&udp->write_queue); count++) {
    queue *first = udp->write_queue.next;
    ((uv_udp_send_t *)((char *)first - offsetof(uv_udp_send_t, queue)))->status = error;
    remove_from(first);
    append(&udp->write_completed_queue, first);
  }
  return count;
}

static void retry(uvb_loop *loop, uv__io_t *watcher) {
  if (is_empty(&loop->retried))
    loop->retry_at = uv_now(&loop->uv) + RETRY;
  append(&loop->retried, &watcher->watcher_queue);
}

static void tell_stream(uvb_loop *loop, uv_stream_t *stream, int error) {
  uv__io_t *watcher = &stream->io_watcher;
  uv_buf_t nothing = uv_buf_init(NULL, 0);

  if (stream->connect_req != NULL) {
    stream->delayed_error = error; /* which the connect callback gets */
    watcher->cb(&loop->uv, watcher, EPOLLOUT);
  } else if (stream->connection_cb != NULL) {
    retry(loop, watcher);
    stream->connection_cb(stream, error);
  } else {
    fail_writes(stream, error);
    if (stream->read_cb != NULL) {
      uv_read_stop(stream);
      uvb_read_cb(stream, error, &nothing);
    }
    if (!uv_is_closing((uv_handle_t *)stream) && !is_empty(&stream->write_completed_queue))
      watcher->cb(&loop->uv, watcher, EPOLLOUT);
  }
}

static void tell_udp(uvb_loop *loop, uv_udp_t *udp, int error) {
  uv__io_t *watcher = &udp->io_watcher;
  uv_buf_t nothing = uv_buf_init(NULL, 0);

  if (fail_sends(udp, error) > 0)
    watcher->cb(&loop->uv, watcher, EPOLLOUT);
  if (uv_is_closing((uv_handle_t *)udp) || !(watcher->pevents & EPOLLIN))
    return;
  if (is_empty(&watcher->watcher_queue))
    retry(loop, watcher);
  udp->recv_cb(udp, error, &nothing, NULL, 0);
}

static void tell(uvb_loop *loop, uv__io_t *watcher, int error) {
  search wanted = {watcher, NULL};

  uv_walk(&loop->uv, compare, &wanted);
  if (wanted.handle == NULL) { /* libuv's own */
    retry(loop, watcher);
    uvb_python_enter(loop);
    uvb_on_unwatched(error);
  } else if (wanted.handle->data == NULL || ((uvb_handle *)wanted.handle->data)->retries)
    retry(loop, watcher); /* ours: what it tells comes late */
  else if (wanted.handle->type == UV_UDP)
    tell_udp(loop, (uv_udp_t *)wanted.handle, error);
  else if (wanted.handle->type == UV_POLL) {
    uv_poll_t *poll = (uv_poll_t *)wanted.handle;
    uv_poll_stop(poll);
    poll->poll_cb(poll, error, 0);
  } else
    tell_stream(loop, (uv_stream_t *)wanted.handle, error);
}

/* Right before a poll: libuv tries again what failed a while ago. */
void uvb_watching_before_poll(uvb_loop *loop) {
  loop->polls_once = 0;
  if (is_empty(&loop->retried) || uv_now(&loop->uv) < loop->retry_at)
    return;
  while (!is_empty(&loop->retried)) {
    queue *first = loop->retried.next;
    remove_from(first);
    append(&loop->uv.watcher_queue, first);
  }
}

/* uv__io_poll has taken the watcher off its queue. An event without its descriptor is that of a
 * trial, in uv_poll_init, which returns the error itself. */
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  uv__io_t *watcher;
  int result = __real_epoll_ctl(epoll, operation, fd, event);

  if (result == 0)
    return 0;
  if (operation == EPOLL_CTL_DEL) /* it may be watched no more, which is as well */
    return errno == ENOENT || errno == EBADF ? result
                                             : __real_epoll_ctl(epoll, operation, fd, event);
  if (operation == EPOLL_CTL_ADD && errno == EEXIST)
    return result; /* libuv goes on with EPOLL_CTL_MOD */
  if (running == NULL || epoll != running->uv.backend_fd || event->data.fd != fd)
    return result;
  watcher = running->uv.watchers[fd];
  if (watcher == NULL)
    return result;
  watcher->events = 0; /* libuv is to add it, should it be started again */
  running->error = uv_translate_sys_error(errno);
  append(&running->unwatched, &watcher->watcher_queue);
  return 0;
}

/* The end of a poll that found nothing. libuv expects an event of a poll without a time limit, so it
 * gets one of the descriptor by which other threads wake the loop, and finds nothing there. */
static int found_nothing(const uvb_loop *loop, struct epoll_event *events, int timeout) {
  if (timeout >= 0)
    return 0;
  events[0].events = EPOLLIN;
  events[0].data.fd = loop->uv.async_io_watcher.fd;
  return 1;
}

/* libuv comes here right after it has gone through its queue. After a failure the poll finds
 * nothing, and does not wait. */
int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int room, int timeout,
                       const sigset_t *mask) {
  uvb_loop *loop = running;
  int limit = timeout, found;

  if (loop == NULL || epoll != loop->uv.backend_fd)
    return __real_epoll_pwait(epoll, events, room, timeout, mask);
  if (!is_empty(&loop->unwatched)) {
    loop->polls_once = 1;
    while (!is_empty(&loop->unwatched)) {
      queue *first = loop->unwatched.next;
      remove_from(first);
      tell(loop, watcher_of(first), loop->error);
    }
  }
  if (loop->polls_once)
    return found_nothing(loop, events, timeout);
  if (!is_empty(&loop->retried)) {
    uint64_t now = uv_now(&loop->uv), left = now < loop->retry_at ? loop->retry_at - now : 0;
    if (timeout < 0 || (uint64_t)timeout > left)
      limit = (int)left;
  }
  found = __real_epoll_pwait(epoll, events, room, limit, mask);
  return found == 0 && limit != timeout ? found_nothing(loop, events, timeout) : found;
}

#else

int uvb_watching_init(uvb_loop *loop) {
  (void)loop;
  return 0;
}

void uvb_watching_before_poll(uvb_loop *loop) { (void)loop; }

uvb_loop *uvb_watching_for(uvb_loop *loop) {
  (void)loop;
  return NULL;
}

#endif
