typedef ... uv_tcp_t;
typedef int uv_os_sock_t;

#define UV_TCP_IPV6ONLY ...
#define UV_TCP_REUSEPORT ...
#define UV_NONBLOCK_PIPE ...

int uv_tcp_nodelay(uv_tcp_t *tcp, int enable);
int uv_tcp_keepalive(uv_tcp_t *tcp, int enable, unsigned int delay);
int uv_tcp_keepalive_ex(uv_tcp_t *tcp, int enable, unsigned int idle, unsigned int interval,
                        unsigned int count);
int uv_tcp_simultaneous_accepts(uv_tcp_t *tcp, int enable);
int uv_tcp_getsockname(const uv_tcp_t *tcp, struct sockaddr *name, int *namelen);
int uv_tcp_getpeername(const uv_tcp_t *tcp, struct sockaddr *name, int *namelen);
int uv_socketpair(int type, int protocol, uv_os_sock_t pair[2], int flags0, int flags1);
