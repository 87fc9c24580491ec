typedef ... uv_timer_t;
typedef void (*uv_timer_cb)(uv_timer_t *timer);

int uv_timer_start(uv_timer_t *timer, uv_timer_cb callback, uint64_t timeout, uint64_t repeat);
int uv_timer_stop(uv_timer_t *timer);
int uv_timer_again(uv_timer_t *timer);
void uv_timer_set_repeat(uv_timer_t *timer, uint64_t repeat);
uint64_t uv_timer_get_repeat(const uv_timer_t *timer);
uint64_t uv_timer_get_due_in(const uv_timer_t *timer);
