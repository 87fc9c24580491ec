typedef ... uv_async_t;
typedef void (*uv_async_cb)(uv_async_t *async);

int uv_async_send(uv_async_t *async);
