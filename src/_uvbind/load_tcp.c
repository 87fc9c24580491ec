/* The load generator for TCP: one message in flight on every connection, until it is back. */

#include "load.h"

enum { RECEIVE_SIZE = 256 * 1024, START_PER_CONNECTION = 61 };

typedef struct tcp_load tcp_load;

typedef struct {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    tcp_load *load;
    const char *message; /* what is in flight: a window on the pattern */
    size_t echoed;       /* how much of it has come back */
    size_t start;
    uint64_t sent_at;
    int in_flight;
    int writing;
} load_connection;

struct tcp_load {
    uvb_load common;
    load_connection *connections;
    int connection_count;
    int open_count;
    char receive[RECEIVE_SIZE];
};

static void on_written(uv_write_t *request, int status);

static void send_message(load_connection *c)
{
    uvb_load *load = &c->load->common;
    if (load->to_send == 0)
        return;
    load->to_send--;
    load->outstanding++;
    load->result.sent++;
    c->start = (c->start + START_PER_MESSAGE) % MESSAGE_STARTS;
    c->message = load->pattern + c->start;
    c->echoed = 0;
    c->in_flight = 1;
    c->writing = 1;
    c->sent_at = uv_hrtime();
    uv_buf_t buf = uv_buf_init((char *)c->message, (unsigned)load->message_size);
    int error = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
    if (error != 0)
        uvb_load_fail(load, error);
}

/* The echo may be here before libuv has reported the write; the request is free only after both. */
static void finish_message(load_connection *c)
{
    uvb_load *load = &c->load->common;
    if (!c->in_flight || c->writing || c->echoed < load->message_size)
        return;
    c->in_flight = 0;
    load->outstanding--;
    load->result.messages++;
    uvb_load_count_latency(load, uv_hrtime() - c->sent_at);
    send_message(c);
}

static void on_written(uv_write_t *request, int status)
{
    load_connection *c = request->handle->data;
    c->writing = 0;
    if (status < 0)
        uvb_load_fail(&c->load->common, status);
    else
        finish_message(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    /* One for all: a read is checked before the next begins. */
    *buf = uv_buf_init(((load_connection *)handle->data)->load->receive, RECEIVE_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    load_connection *c = stream->data;
    uvb_load *load = &c->load->common;
    if (nread < 0) {
        uvb_load_fail(load, (int)nread);
        return;
    }
    size_t got = (size_t)nread, wanted = c->in_flight ? load->message_size - c->echoed : 0;
    size_t echoed = got < wanted ? got : wanted;
    if (got > wanted || memcmp(buf->base, c->message + c->echoed, echoed) != 0)
        load->result.mismatches++;
    c->echoed += echoed;
    load->result.bytes += got;
    load->progress_at = uv_hrtime();
    finish_message(c);
}

static void on_connected(uv_connect_t *request, int status)
{
    load_connection *c = request->handle->data;
    uvb_load *load = &c->load->common;
    load->outstanding--;
    load->progress_at = uv_hrtime();
    if (status == 0)
        status = uv_tcp_nodelay(&c->tcp, 1);
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    if (status < 0)
        uvb_load_fail(load, status);
}

static int open_connection(tcp_load *load, const struct sockaddr *address)
{
    load_connection *c = &load->connections[load->open_count];
    int error = uv_tcp_init(&load->common.loop, &c->tcp);
    if (error != 0)
        return error;
    c->load = load;
    c->tcp.data = c;
    c->start = (size_t)load->open_count++ * START_PER_CONNECTION % MESSAGE_STARTS;
    c->message = load->common.pattern;
    error = uv_tcp_connect(&c->connect, &c->tcp, address, on_connected);
    if (error == 0)
        load->common.outstanding++;
    return error;
}

static void start_tcp(uvb_load *common)
{
    tcp_load *load = (tcp_load *)common;
    for (int i = 0; i < load->connection_count && common->error == 0; i++)
        send_message(&load->connections[i]);
}

static void close_tcp(uvb_load *common)
{
    tcp_load *load = (tcp_load *)common;
    for (int i = 0; i < load->open_count; i++)
        uv_close((uv_handle_t *)&load->connections[i].tcp, NULL);
}

int uvb_load_tcp_open(const char *host, int port, int connections, size_t message_size,
                      double timeout_s, uvb_load **opened)
{
    struct sockaddr_storage address;
    uvb_load *common;
    *opened = NULL;
    if (connections < 1)
        return UV_EINVAL;
    int error = uvb_load_new(sizeof(tcp_load), (size_t)connections * sizeof(load_connection), host,
                             port, message_size, timeout_s, &address, &common);
    if (error != 0)
        return error;
    common->start = start_tcp;
    common->close = close_tcp;
    tcp_load *load = (tcp_load *)common;
    load->connections = common->own;
    load->connection_count = connections;
    while (error == 0 && load->open_count < connections)
        error = open_connection(load, (const struct sockaddr *)&address);
    if (error == 0)
        error = uvb_load_poll(common, uv_hrtime());
    if (error != 0)
        uvb_load_close(common);
    else
        *opened = common;
    return error;
}
