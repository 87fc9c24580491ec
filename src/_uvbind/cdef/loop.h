typedef ... uv_loop_t;

typedef enum {
  UV_RUN_DEFAULT,
  UV_RUN_ONCE,
  UV_RUN_NOWAIT,
  ...
} uv_run_mode;

typedef enum {
  UV_LOOP_BLOCK_SIGNAL,
  UV_METRICS_IDLE_TIME,
  ...
} uv_loop_option;
#define UV_LOOP_USE_IO_URING_SQPOLL ...

int uv_loop_alive(const uv_loop_t *loop);
int uv_backend_fd(const uv_loop_t *loop);
int uv_backend_timeout(const uv_loop_t *loop);
uint64_t uv_now(const uv_loop_t *loop);
void uv_update_time(uv_loop_t *loop);
uint64_t uv_hrtime(void);
void uv_stop(uv_loop_t *loop);
