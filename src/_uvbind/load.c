/* A load generator for echo servers, on a private libuv loop.

   It polls and never sleeps: a sleeping peer makes the faster server pay for waking it, so the
   comparison would favour the slower one. It allocates nothing per message, and checks every byte
   that comes back. Opening and running are apart so that the caller can warm the connections up
   and read the server's CPU clock with nothing in flight. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "cdef/load.h"

enum {
    RECEIVE_SIZE = 256 * 1024,
    /* Messages begin at one of this many places in the pattern (a prime, so that the steps below
       visit all of them). */
    MESSAGE_STARTS = 4093,
    START_PER_CONNECTION = 61,
    START_PER_MESSAGE = 17,
    /* The latency histogram has this many buckets for every power of two: 6 % apart at most. */
    BUCKETS_PER_OCTAVE = 16,
    BUCKETS = 62 * BUCKETS_PER_OCTAVE
};

typedef struct {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uvb_load *load;
    const char *message; /* what is in flight: a window on the pattern */
    size_t echoed;       /* how much of it has come back */
    size_t start;
    uint64_t sent_at;
    int in_flight;
    int writing;
} load_connection;

struct uvb_load {
    uv_loop_t loop;
    load_connection *connections;
    int connection_count;
    int open_count;
    size_t message_size;
    char *pattern;
    uint64_t timeout_ns;
    uint64_t progress_at;
    uint64_t outstanding; /* connects or echoes still awaited */
    uint64_t to_send;
    int error; /* the first; it ends the run, and every later one */
    uvb_load_result result;
    uint64_t histogram[BUCKETS];
    char receive[RECEIVE_SIZE];
};

static void count_latency(uvb_load *load, uint64_t ns)
{
    unsigned shift = 0;
    while ((ns >> shift) >= 2 * BUCKETS_PER_OCTAVE)
        shift++;
    load->histogram[shift * BUCKETS_PER_OCTAVE + (unsigned)(ns >> shift)]++;
}

static double percentile_us(const uvb_load *load, double fraction)
{
    uint64_t seen = 0, wanted = (uint64_t)(fraction * (double)load->result.messages);
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += load->histogram[i];
        if (seen > wanted) {
            unsigned shift = i < BUCKETS_PER_OCTAVE ? 0 : i / BUCKETS_PER_OCTAVE - 1;
            double low = (double)((uint64_t)(i - shift * BUCKETS_PER_OCTAVE) << shift);
            return (low + (double)((uint64_t)1 << shift) / 2) / 1e3;
        }
    }
    return 0;
}

static void fail(uvb_load *load, int error)
{
    load->result.connection_errors++;
    if (load->error == 0)
        load->error = error;
}

static void on_written(uv_write_t *request, int status);

static void send_message(load_connection *c)
{
    uvb_load *load = c->load;
    if (load->to_send == 0)
        return;
    load->to_send--;
    load->outstanding++;
    /* No two messages of a connection in a row are alike, nor those of its neighbours: bytes that
       are stale, shifted or another connection's do not compare equal. */
    c->start = (c->start + START_PER_MESSAGE) % MESSAGE_STARTS;
    c->message = load->pattern + c->start;
    c->echoed = 0;
    c->in_flight = 1;
    c->writing = 1;
    c->sent_at = uv_hrtime();
    uv_buf_t buf = uv_buf_init((char *)c->message, (unsigned)load->message_size);
    int error = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
    if (error != 0)
        fail(load, error);
}

/* The echo may be here before libuv has reported the write; the request is free only after both. */
static void finish_message(load_connection *c)
{
    uvb_load *load = c->load;
    if (!c->in_flight || c->writing || c->echoed < load->message_size)
        return;
    c->in_flight = 0;
    load->outstanding--;
    load->result.messages++;
    count_latency(load, uv_hrtime() - c->sent_at);
    send_message(c);
}

static void on_written(uv_write_t *request, int status)
{
    load_connection *c = request->handle->data;
    c->writing = 0;
    if (status < 0)
        fail(c->load, status);
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
    uvb_load *load = c->load;
    if (nread < 0) {
        fail(load, (int)nread);
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
    c->load->outstanding--;
    c->load->progress_at = uv_hrtime();
    if (status == 0)
        status = uv_tcp_nodelay(&c->tcp, 1);
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    if (status < 0)
        fail(c->load, status);
}

/* A peer that trickles shows progress for ever, so the time after the last send is bounded too. */
static int poll_outstanding(uvb_load *load, uint64_t stop_sending_at)
{
    load->progress_at = uv_hrtime();
    while (load->outstanding > 0 && load->error == 0) {
        uint64_t now = uv_hrtime();
        if (now >= stop_sending_at)
            load->to_send = 0;
        if (now > load->progress_at + load->timeout_ns || now > stop_sending_at + load->timeout_ns)
            load->error = UV_ETIMEDOUT;
        else
            uv_run(&load->loop, UV_RUN_NOWAIT);
    }
    return load->error;
}

static int open_connection(uvb_load *load, const struct sockaddr *address)
{
    load_connection *c = &load->connections[load->open_count];
    int error = uv_tcp_init(&load->loop, &c->tcp);
    if (error != 0)
        return error;
    c->load = load;
    c->tcp.data = c;
    c->start = (size_t)load->open_count++ * START_PER_CONNECTION % MESSAGE_STARTS;
    c->message = load->pattern;
    error = uv_tcp_connect(&c->connect, &c->tcp, address, on_connected);
    if (error == 0)
        load->outstanding++;
    return error;
}

static uvb_load *new_load(int connections, size_t message_size, double timeout_s)
{
    uvb_load *load = calloc(1, sizeof *load);
    if (load == NULL)
        return NULL;
    size_t pattern_size = message_size + MESSAGE_STARTS;
    load->connections = calloc((size_t)connections, sizeof *load->connections);
    load->pattern = malloc(pattern_size);
    if (load->connections == NULL || load->pattern == NULL || uv_loop_init(&load->loop) != 0) {
        free(load->connections);
        free(load->pattern);
        free(load);
        return NULL;
    }
    load->connection_count = connections;
    load->message_size = message_size;
    load->timeout_ns = (uint64_t)(timeout_s * 1e9);
    uint32_t noise = 1;
    for (size_t i = 0; i < pattern_size; i++) {
        noise = noise * 1664525 + 1013904223;
        load->pattern[i] = (char)(noise >> 24);
    }
    return load;
}

int uvb_load_tcp_open(const char *host, int port, int connections, size_t message_size,
                      double timeout_s, uvb_load **opened)
{
    struct sockaddr_storage address;
    *opened = NULL;
    if (connections < 1 || message_size < 1 || message_size > INT32_MAX)
        return UV_EINVAL;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&address) != 0 &&
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address) != 0)
        return UV_EINVAL;
    uvb_load *load = new_load(connections, message_size, timeout_s);
    if (load == NULL)
        return UV_ENOMEM;
    int error = 0;
    while (error == 0 && load->open_count < connections)
        error = open_connection(load, (const struct sockaddr *)&address);
    if (error == 0)
        error = poll_outstanding(load, uv_hrtime());
    if (error != 0) {
        uvb_load_close(load);
        return error;
    }
    *opened = load;
    return 0;
}

int uvb_load_run(uvb_load *load, uint64_t messages, double seconds, uvb_load_result *result)
{
    memset(&load->result, 0, sizeof load->result);
    memset(load->histogram, 0, sizeof load->histogram);
    uint64_t begin = uv_hrtime();
    load->to_send = messages > 0 ? messages : UINT64_MAX;
    for (int i = 0; i < load->connection_count && load->error == 0; i++)
        send_message(&load->connections[i]);
    int error = poll_outstanding(load, begin + (uint64_t)(seconds * 1e9));
    load->result.seconds = (double)(uv_hrtime() - begin) / 1e9;
    load->result.p50_us = percentile_us(load, 0.50);
    load->result.p99_us = percentile_us(load, 0.99);
    *result = load->result;
    return error;
}

void uvb_load_close(uvb_load *load)
{
    for (int i = 0; i < load->open_count; i++)
        uv_close((uv_handle_t *)&load->connections[i].tcp, NULL);
    uv_run(&load->loop, UV_RUN_DEFAULT); /* only close callbacks are left: it cannot block */
    uv_loop_close(&load->loop);
    free(load->connections);
    free(load->pattern);
    free(load);
}
