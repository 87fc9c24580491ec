typedef ... uv_req_t;

int uv_cancel(uv_req_t *req);
