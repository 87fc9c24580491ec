/* Signals: libuv's watcher, and giving a signal back to whom it belonged.
 *
 * uv_signal_stop leaves SIG_DFL behind, so after watching SIGINT for a while Ctrl-C would
 * kill the process instead of raising KeyboardInterrupt. We keep the disposition that the
 * first watcher found, process-wide like signals are, and put it back after the last. */
#include "uvbind.h"

#ifdef _WIN32
static void borrow(int signum) { (void)signum; }
static void give_back(int signum) { (void)signum; }
#else
#include <signal.h>

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t lock;
static struct {
  unsigned int watchers;
  struct sigaction before;
} borrowed[NSIG];

static void init(void) {
  if (uv_mutex_init(&lock) != 0)
    abort();
}

static int known(int signum) { return signum > 0 && signum < NSIG; }

static void borrow(int signum) {
  if (!known(signum))
    return;
  uv_once(&once, init);
  uv_mutex_lock(&lock);
  if (borrowed[signum].watchers++ == 0)
    sigaction(signum, NULL, &borrowed[signum].before);
  uv_mutex_unlock(&lock);
}

static void give_back(int signum) {
  if (!known(signum))
    return;
  uv_mutex_lock(&lock);
  if (--borrowed[signum].watchers == 0)
    sigaction(signum, &borrowed[signum].before, NULL);
  uv_mutex_unlock(&lock);
}
#endif

int uvb_signal_stop(uvb_handle *handle) {
  int signum = handle->uv.signal.signum;
  int err = uv_signal_stop(&handle->uv.signal);
  if (err == 0 && signum != 0)
    give_back(signum);
  return err;
}

/* A one-shot watcher is stopped here and not by libuv, which would stop it only after the
 * callback and never forgets that a watcher was one-shot once. */
static void signal_cb(uv_signal_t *signal, int signum) {
  uvb_handle *ours = signal->data;
  uvb_metrics_signalled(ours->loop);
  if (ours->oneshot)
    uvb_signal_stop(ours);
  uvb_on_signal(uvb_python_self(ours), signum);
}

int uvb_signal_start(uvb_handle *handle, int signum, int oneshot) {
  int err;
  if (handle->uv.signal.signum != signum) {
    uvb_signal_stop(handle);
    borrow(signum);
    err = uv_signal_start(&handle->uv.signal, signal_cb, signum);
    if (err != 0) {
      give_back(signum);
      return err;
    }
  }
  handle->oneshot = oneshot;
  return 0;
}
