/* The size of libuv's pool of threads, in which names are looked up.
 *
 * libuv lets lookups have half of the pool's threads, so its four do two lookups at a time. It
 * makes the pool when it first needs one, and aborts when the system has no room for that. So
 * we find out beforehand, and tell libuv in the only way it listens to. */
#include "uvbind.h"

#define VARIABLE "UV_THREADPOOL_SIZE"

enum { MOST = 1024 /* libuv's own limit */ };

static uv_sem_t gate;

static void wait_at_gate(void *argument) {
  (void)argument;
  uv_sem_wait(&gate);
}

/* How many of so many threads the system has room for. */
static int possible(int wanted) {
  uv_thread_options_t like_libuvs = {UV_THREAD_HAS_STACK_SIZE, 8u << 20};
  uv_thread_t *threads = malloc((size_t)wanted * sizeof *threads);
  int made = 0;

  if (threads == NULL || uv_sem_init(&gate, 0) != 0) {
    free(threads);
    return UV_ENOMEM;
  }
  while (made < wanted &&
         uv_thread_create_ex(&threads[made], &like_libuvs, wait_at_gate, NULL) == 0)
    made++;
  for (int i = 0; i < made; i++)
    uv_sem_post(&gate);
  for (int i = 0; i < made; i++)
    uv_thread_join(&threads[i]);
  uv_sem_destroy(&gate);
  free(threads);
  return made;
}

static void no_work(uv_work_t *work) { (void)work; }

static void after_no_work(uv_work_t *work, int status) {
  (void)work;
  (void)status;
}

static int make_pool(void) {
  uv_loop_t loop;
  uv_work_t work;
  int err = uvb_plain_loop_init(&loop);

  if (err != 0)
    return err;
  err = uv_queue_work(&loop, &work, no_work, after_no_work);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return err;
}

/* Makes the pool, with room for so many lookups unless the environment says otherwise. To be
 * called once in a process, before its first lookup. The variable is not left behind: programs
 * that this one starts may be on libuv too.
 *
 * None is for a forked child that ends without any: libuv waits for its threads then, takes those
 * of the parent for them, and crashes; so it gets one.
 *
 * `lost`: how many lookups ran when this process was forked off. libuv goes on counting them
 * and would leave their share of the threads idle for ever. */
int uvb_lookup_threads(int lookups, int lost) {
  char before[32], text[16];
  size_t size = sizeof before;
  int given = uv_os_getenv(VARIABLE, before, &size) == 0;
  long wanted = given && lookups > 0 ? strtol(before, NULL, 10) : 2L * lookups - 1;
  int made, err;

  wanted = (wanted < 1 ? 1 : wanted) + 2L * lost;
  wanted = wanted > MOST ? MOST : wanted;
  made = possible((int)wanted);
  if (made <= 0)
    return made < 0 ? made : UV_EAGAIN;
  snprintf(text, sizeof text, "%d", made);
  err = uv_os_setenv(VARIABLE, text);
  if (err == 0)
    err = make_pool();
  if (given)
    uv_os_setenv(VARIABLE, before);
  else
    uv_os_unsetenv(VARIABLE);
  return err;
}
