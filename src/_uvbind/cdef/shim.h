/* What our own C offers Python beside libuv's functions; the C sources include it too.
 *
 * A uvb_loop, uvb_handle and uvb_request are the C halves of a Python Loop, Handle and
 * Request. libuv's struct lies inside, and its `data` leads back. */
typedef struct uvb_loop uvb_loop;
typedef struct uvb_handle uvb_handle;

enum { UVB_SOCKADDR_SIZE = 128, UVB_HOST_SIZE = 64 };

/* Loops. */
uvb_loop *uvb_loop_new(void *self, int *error);
int uvb_loop_close(uvb_loop *loop);
void uvb_loop_free(uvb_loop *loop);
int uvb_loop_run(uvb_loop *loop, int mode, unsigned long thread);
uv_loop_t *uvb_loop_uv(uvb_loop *loop);
unsigned int uvb_loop_active_requests(const uvb_loop *loop);
int uvb_loop_configure(uvb_loop *loop, int option, int argument);
int uvb_loop_watch_wakeup(uvb_loop *loop, int fd);
enum { UVB_SIGNALS = 64 }; /* so many at a time */
int uvb_loop_signals(uvb_loop *loop, char *signals);
void uvb_loop_forward_wakeup(uvb_loop *loop, int fd);
int uvb_loop_watch_exhaustion(uvb_loop *loop);
void uvb_loop_forked(uvb_loop *loop);
int uvb_loop_fork(uvb_loop *loop);
void uvb_loop_walk(uvb_loop *loop, void *found);
void uvb_loop_later(uvb_loop *loop);
int uvb_loop_print_handles(uvb_loop *loop, int active_only, int fd);
void uvb_loop_not_later(uvb_loop *loop);

/* What a loop has done, and has (metrics.c). Times are nanoseconds. */
typedef struct {
  uint64_t time, idle_time; /* the clock, and how much of it the loop has waited */
  uv_metrics_t counts;
  int counted; /* 0 where libuv is too old for the counts */
  unsigned int handles, requests;
  size_t queued_bytes;
} uvb_metrics;

void uvb_loop_measure(uvb_loop *loop, uvb_metrics *metrics);
uint64_t uvb_loop_idle_time(uvb_loop *loop);

/* Handles. */
uvb_handle *uvb_handle_new(uvb_loop *loop, void *self);
int uvb_handle_init(uvb_handle *handle, int type, int argument);
void uvb_handle_free(uvb_handle *handle);
void *uvb_handle_uv(uvb_handle *handle);
int uvb_handle_close(uvb_handle *handle);
void uvb_handle_leave_descriptor(uvb_handle *handle);
int uvb_listen(uvb_handle *server, int backlog);
void uvb_connection_waits(uvb_handle *server);
int uvb_handle_accept(uvb_handle *server, uvb_handle *client);
int uvb_tcp_close_reset(uvb_handle *handle);
void uvb_poll_retries(uvb_handle *handle);
void uvb_pipe_keep_path(uvb_handle *handle);
void uvb_handle_read_into(uvb_handle *handle, char *buffer, size_t size);
void uvb_handle_asks(uvb_handle *handle, int asks);
int uvb_write2(uv_write_t *req, uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count,
               uvb_handle *passed);
int uvb_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock);
int uvb_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *address, unsigned int flags);
int uvb_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp, const struct sockaddr *address,
                    uv_connect_cb callback);
int uvb_pipe_open(uv_pipe_t *pipe, int fd);
int uvb_pipe_bind(uv_pipe_t *pipe, const char *name, size_t size, unsigned int flags);
int uvb_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe, const char *name, size_t size,
                     unsigned int flags, uv_connect_cb callback);
int uvb_write_now(uvb_handle *handle, const char *data, size_t size, void *object);
int uvb_udp_open(uv_udp_t *udp, uv_os_sock_t sock);
int uvb_udp_open_ex(uv_udp_t *udp, uv_os_sock_t sock, unsigned int flags);
int uvb_udp_connect(uvb_handle *handle, const struct sockaddr *address);
/* A flag beside libuv's, of a datagram that came in a batch in which receiving was stopped. */
enum { UVB_KEEP = 1 << 30 };
enum { UVB_TTL, UVB_MULTICAST_TTL, UVB_MULTICAST_LOOP };
int uvb_udp_bind(uvb_handle *handle, const struct sockaddr *address, unsigned int flags);
int uvb_udp_family(uvb_handle *handle);
int uvb_udp_set_option(uvb_handle *handle, int option, int value);
int uvb_udp_recv_stop(uvb_handle *handle);
int uvb_udp_recv_start(uvb_handle *handle, int batch);
int uvb_udp_send(uv_udp_send_t *req, uv_udp_t *udp, const uv_buf_t *buffers, unsigned int count,
                 const struct sockaddr *address, uv_udp_send_cb callback);
int uvb_udp_send_now(uvb_handle *handle, const char *data, size_t size,
                     const struct sockaddr *address, void *object);
int uvb_udp_try_send(uvb_handle *handle, const char *data, size_t size,
                     const struct sockaddr *address);
int uvb_udp_send_batch(uvb_handle *handle, unsigned int count, uv_buf_t *datagrams,
                       struct sockaddr **addresses);
int uvb_poll_start(uvb_handle *handle, int events);
int uvb_signal_start(uvb_handle *handle, int signum, int oneshot);
int uvb_signal_stop(uvb_handle *handle);

/* Requests: one block of memory fits any kind, libuv's struct lies at its beginning. */
void *uvb_request_new(uvb_loop *loop, void *self);
void uvb_request_done(void *request);
void uvb_request_free(void *request);

/* Names (dns.c). The results of `_now` and `_numeric` are there when they return, those of the
 * others when uvb_on_request is called. */
typedef struct {
  int family, type, proto, port;
  unsigned int flowinfo, scope_id;
  char host[UVB_HOST_SIZE];
} uvb_found;

int uvb_lookup_threads(int lookups, int lost);
int uvb_getaddrinfo(uv_getaddrinfo_t *req, uvb_loop *loop, const char *host, const char *service,
                    int family, int type, int proto, int flags);
int uvb_getaddrinfo_now(uvb_loop *loop, const char *host, const char *service, int family,
                        int type, int proto, int flags, struct addrinfo **found);
/* For what needs no name server; else returns 1. */
int uvb_getaddrinfo_numeric(uvb_loop *loop, const char *host, const char *service, int family,
                            int type, int proto, int flags, struct addrinfo **found);
int uvb_getnameinfo(uv_getnameinfo_t *req, uvb_loop *loop, const struct sockaddr *address,
                    int flags);
int uvb_getnameinfo_now(uv_getnameinfo_t *req, uvb_loop *loop, const struct sockaddr *address,
                        int flags);
/* Writes as many as there is room for and returns how many there are. */
int uvb_found_unpack(const struct addrinfo *found, uvb_found *unpacked, int room);
const char *uvb_found_canonname(const struct addrinfo *found);
int uvb_lookup_runs(void *request);
int uvb_lookup_abandon(void *request);
int uvb_lookup_cancel(void *request);
const char *uvb_lookup_strerror(int number);

/* Addresses: `storage` has UVB_SOCKADDR_SIZE bytes, `host` UVB_HOST_SIZE. */
int uvb_address_pack(const char *host, int port, unsigned int flowinfo, unsigned int scope_id,
                     struct sockaddr *storage);
int uvb_address_unpack(const struct sockaddr *storage, char *host, int *port,
                       unsigned int *flowinfo, unsigned int *scope_id);
int uvb_socket_type(int fd);
int uvb_socket_is_unconnected(int fd);
int uvb_above_2(int fd);

/* The interfaces' addresses: for each the fields of Python's InterfaceAddress, every one with a
 * NUL behind it. Returns how long that is, although `text` may have less room, or libuv's error. */
int uvb_interface_addresses(char *text, int room);

/* libuv's callbacks: each finds its Python object and crosses, see callbacks.h. */
void uvb_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
void uvb_read_cb(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer);
void uvb_connection_cb(uv_stream_t *server, int status);
void uvb_connect_cb(uv_connect_t *req, int status);
void uvb_write_cb(uv_write_t *req, int status);
void uvb_shutdown_cb(uv_shutdown_t *req, int status);
void uvb_udp_send_cb(uv_udp_send_t *req, int status);
void uvb_timer_cb(uv_timer_t *timer);
void uvb_async_cb(uv_async_t *async);
void uvb_prepare_cb(uv_prepare_t *prepare);
void uvb_check_cb(uv_check_t *check);
void uvb_idle_cb(uv_idle_t *idle);

/* CPython's fast lane (python.c): puts its builtins into the dict at this address and
 * returns how many they are, 0 where there is no such lane. */
int uvb_install(void *dict);
