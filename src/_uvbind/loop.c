/* Loops: memory, running, configuring, walking. */
#include "uvbind.h"

#ifdef _WIN32
#include <io.h>
#define dup _dup
#define fdopen _fdopen
#else
#include <unistd.h>
#endif

/* Started before any other prepare watcher, and so run after all of them. */
static void before_poll(uv_prepare_t *prepare) {
  uvb_loop *loop = prepare->loop->data;
  uvb_python_turn_ends(loop);
  uvb_metrics_before_poll(loop);
  loop->has_before = uv_is_active((uv_handle_t *)&loop->awake);
  /* uv_backend_timeout would not do: it is 0 as well when libuv has yet to tell the system what
   * to watch. */
  uvb_watching_before_poll(loop);
  if (!loop->has_before)
    uvb_python_leave(loop);
}

/* uv_run, as every loop of ours is run. */
static int run(uvb_loop *loop, uv_run_mode mode) {
  uv_loop_t *current = uvb_set_current(&loop->uv);
  uvb_loop *before = uvb_watching_for(loop);
  int more = uv_run(&loop->uv, mode);

  uvb_watching_for(before);
  uvb_set_current(current);
  return more;
}

uvb_loop *uvb_loop_new(void *self, int *error) {
  uvb_loop *loop = calloc(1, sizeof *loop);
  char *slab = malloc(UVB_SLAB_SIZE);

  *error = UV_ENOMEM;
  if (loop == NULL || slab == NULL)
    goto failed;
  *error = uvb_plain_loop_init(&loop->uv);
  if (*error != 0)
    goto failed;
  loop->uv.data = loop;
  loop->slab = slab;
  loop->self = self;
  *error = uvb_watching_init(loop);
  if (*error != 0) {
    uv_loop_close(&loop->uv);
    goto failed;
  }
  uvb_exhaustion_init(loop);
  uv_idle_init(&loop->uv, &loop->awake);
  uv_check_init(&loop->uv, &loop->later);
  uv_prepare_init(&loop->uv, &loop->before_poll);
  uv_prepare_start(&loop->before_poll, before_poll);
  uv_unref((uv_handle_t *)&loop->before_poll);
  return loop;

failed:
  free(slab);
  free(loop);
  return NULL;
}

void uvb_internal_closed(uv_handle_t *handle) {
  uvb_loop *loop = handle->loop->data;
  loop->internal_handles--;
}

static void close_internal(uvb_loop *loop, uv_handle_t *handle) {
  if (handle->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handle)) {
    loop->internal_handles++;
    uv_close(handle, uvb_internal_closed);
  }
}

/* Two threads may come here at once, for cffi has let go of the GIL. */
static int begin(uvb_loop *loop) {
#ifdef _MSC_VER
  return _InterlockedExchange((volatile long *)&loop->running, 1) == 0;
#else
  return __atomic_exchange_n(&loop->running, 1, __ATOMIC_ACQ_REL) == 0;
#endif
}

static void find_handle(uv_handle_t *handle, void *found) {
  if (handle->data != NULL) /* ours have none */
    *(int *)found = 1;
}

static int is_empty(uvb_loop *loop) {
  int found = 0;
  uv_walk(&loop->uv, find_handle, &found);
  return !found && loop->uv.active_reqs.count == 0;
}

/* No handle of Python's and no request is left, so the only callbacks that run here are those of
 * the internal handles. */
int uvb_loop_close(uvb_loop *loop) {
  int err;

  if (loop->closed)
    return 0;
  if (!is_empty(loop))
    return UV_EBUSY;
  if (!begin(loop))
    return UV_EALREADY;
  loop->closing = 1;
  uvb_exhaustion_close(loop);
  close_internal(loop, (uv_handle_t *)&loop->wakeup);
  close_internal(loop, (uv_handle_t *)&loop->awake);
  close_internal(loop, (uv_handle_t *)&loop->later);
  close_internal(loop, (uv_handle_t *)&loop->before_poll);
  while (loop->internal_handles > 0)
    run(loop, UV_RUN_NOWAIT);
  err = uv_loop_close(&loop->uv);
  if (err == 0) {
    loop->closed = 1;
    loop->owner = 0; /* the next to use it finds that it is closed */
    free(loop->slab);
    free(loop->datagrams);
    loop->slab = loop->datagrams = NULL;
  }
  loop->running = 0;
  return err;
}

/* Python has no more use for it, closed or not. An empty loop can still be closed; the
 * rest is not freed: libuv's threads and signal handlers may look at it. */
void uvb_loop_free(uvb_loop *loop) {
  loop->self = loop->core = NULL;
  if (!loop->closed && !loop->forked && !loop->running && is_empty(loop))
    uvb_loop_close(loop);
  if (loop->closed)
    free(loop);
}

/* Python's part of run() can be left at any point by what a signal handler raises, so what has
 * to be undone in any case is undone here. On CPython the caller has the GIL, and has it again. */
int uvb_loop_run(uvb_loop *loop, int mode, unsigned long thread) {
  int more;
  if (loop->closed)
    return UV_EINVAL;
  if (!begin(loop))
    return UV_EALREADY;
  loop->owner = thread;
  more = run(loop, (uv_run_mode)mode);
  uvb_python_enter(loop);
  uvb_python_turn_ends(loop);
  loop->owner = 0;
  loop->running = 0;
  return more;
}

uv_loop_t *uvb_loop_uv(uvb_loop *loop) { return &loop->uv; }

unsigned int uvb_loop_active_requests(const uvb_loop *loop) {
  return loop->uv.active_reqs.count;
}

int uvb_loop_configure(uvb_loop *loop, int option, int argument) {
  int err = uv_loop_configure(&loop->uv, (uv_loop_option)option, argument);
  if (err == 0 && option == UV_METRICS_IDLE_TIME)
    loop->measuring = 1;
  return err;
}

/* Python writes the number of a signal that comes to its end of `fd`'s pair, and that ends a
 * blocked poll. Whoever had the wakeup fd before, an asyncio loop for one, is told as well; when
 * its buffer is full, it is as it would be without us. */
static void wakeup_cb(uv_poll_t *poll, int status, int events) {
  uvb_loop *loop = poll->loop->data;
  char *signals = loop->signals + loop->signal_count;
  int count = (int)recv(loop->wakeup_fd, signals, UVB_SIGNALS - loop->signal_count, 0);
  (void)status;
  (void)events;
  if (count > 0) {
    loop->signal_count += count;
    if (loop->wakeup_forward != -1) {
#ifdef _WIN32
      count = send(loop->wakeup_forward, signals, count, 0);
#else
      count = (int)write(loop->wakeup_forward, signals, (size_t)count);
#endif
    }
  }
  uvb_metrics_signalled(loop);
  uvb_python_enter(loop);
  uvb_on_wakeup(loop->self);
}

/* Take the numbers of the signals that came. They stay here until then, since a signal handler may
 * raise before Python has taken them. */
int uvb_loop_signals(uvb_loop *loop, char *signals) {
  int count = loop->signal_count;
  memcpy(signals, loop->signals, (size_t)count);
  loop->signal_count = 0;
  return count;
}

void uvb_loop_forward_wakeup(uvb_loop *loop, int fd) { loop->wakeup_forward = fd; }

int uvb_loop_watch_wakeup(uvb_loop *loop, int fd) {
  int err;

  if (loop->wakeup.type != UV_UNKNOWN_HANDLE) /* is watched already */
    return 0;
  err = uvb_room_for(&loop->uv, fd);
  if (err == 0)
    err = uv_poll_init_socket(&loop->uv, &loop->wakeup, fd);
  if (err != 0)
    return err;
  loop->wakeup_fd = fd;
  uv_unref((uv_handle_t *)&loop->wakeup);
  return uv_poll_start(&loop->wakeup, UV_READABLE, wakeup_cb);
}

/* In a child right after the fork: nothing of the parent's is touched any more. */
void uvb_loop_forked(uvb_loop *loop) {
  loop->forked = 1;
#ifndef _WIN32
  /* A thread that was delivering a lookup had it, and is not here to let go of it. */
  uv_mutex_init(&loop->uv.wq_mutex);
#endif
  uvb_exhaustion_forked(loop);
}

/* Our descriptors must be the child's own before libuv makes a new poll set of all. */
int uvb_loop_fork(uvb_loop *loop) {
  int err = uvb_exhaustion_fork(loop);
  if (err == 0)
    err = uv_loop_fork(&loop->uv);
  if (err == 0) {
    uvb_lookups_forked(loop);
    loop->forked = 0;
  }
  return err;
}

/* It goes on until Python says that nothing is left; not having said so, Ctrl-C came in between. */
static void later_cb(uv_check_t *check) { uvb_python_later(check->loop->data, 0); }

/* What Python had to do before the poll it does before it is handed what the poll has found. */
void uvb_loop_catch_up(uvb_loop *loop) {
  if (loop->has_before) {
    loop->has_before = 0;
    uvb_python_later(loop, 1);
  }
}

static void stay_awake_cb(uv_idle_t *idle) { (void)idle; }

/* Has Loop._run_later called after the next poll, or the one that is under way. Until then the
 * loop is alive and does not wait, by an idle watcher. */
void uvb_loop_later(uvb_loop *loop) {
  uv_idle_start(&loop->awake, stay_awake_cb);
  uv_check_start(&loop->later, later_cb);
}

void uvb_loop_not_later(uvb_loop *loop) {
  uv_idle_stop(&loop->awake);
  uv_check_stop(&loop->later);
}

static void walk_cb(uv_handle_t *handle, void *found) {
  if (handle->data != NULL) /* ours have none */
    uvb_on_walk(((uvb_handle *)handle->data)->self, found);
}

void uvb_loop_walk(uvb_loop *loop, void *found) { uv_walk(&loop->uv, walk_cb, found); }

/* To a descriptor, which stays the caller's. */
int uvb_loop_print_handles(uvb_loop *loop, int active_only, int fd) {
  int own = dup(fd);
  FILE *stream = own == -1 ? NULL : fdopen(own, "w");
  int err = stream == NULL ? uv_translate_sys_error(errno) : 0;

  if (stream == NULL) {
    if (own != -1)
      close(own);
    return err;
  }
  if (active_only)
    uv_print_active_handles(&loop->uv, stream);
  else
    uv_print_all_handles(&loop->uv, stream);
  return fclose(stream) == 0 ? 0 : uv_translate_sys_error(errno);
}
