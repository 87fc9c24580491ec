typedef struct {
  uint64_t loop_count;
  uint64_t events;
  uint64_t events_waiting;
  ...;
} uv_metrics_t;

uint64_t uv_metrics_idle_time(uv_loop_t *loop);
int uv_metrics_info(uv_loop_t *loop, uv_metrics_t *metrics);
