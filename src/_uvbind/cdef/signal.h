typedef ... uv_signal_t;

int uv_signal_init(uv_loop_t *loop, uv_signal_t *signal);
