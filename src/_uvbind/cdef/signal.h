typedef ... uv_signal_t;

